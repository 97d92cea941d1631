//! CPU lists as the kernel writes them ("0-3,8") and as sets of numbers.

use std::collections::BTreeSet;
use std::fmt::Write;

/// A list that tells more than every CPU sixteen times over is none.
const MOST_TOLD: usize = 1 << 20;

/// Parses "0-3,8" (also with a stride, "0-6:2"); None when it is not a CPU list.
pub fn parse(text: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for (first, last, stride) in runs(text)? {
        cpus.extend((first..=last).step_by(stride));
    }
    Some(cpus)
}

/// The highest number of a list, without a set of all of them.
pub fn last(text: &str) -> Option<u32> {
    let highest = |(first, last, stride): (u32, u32, usize)| last - (last - first) % stride as u32;
    runs(text)?.into_iter().map(highest).max()
}

/// Its parts as (first, last, stride).
fn runs(text: &str) -> Option<Vec<(u32, u32, usize)>> {
    let (mut runs, mut told) = (Vec::new(), 0);
    for part in text.trim().split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (range, stride) = match part.split_once(':') {
            Some((range, stride)) => (range, stride.parse::<u32>().ok().filter(|s| *s > 0)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            Some((a, b)) => (a.parse::<u32>().ok()?, b.parse::<u32>().ok()?),
            None => (range.parse().ok()?, range.parse().ok()?),
        };
        // No kernel has more than 8192 CPUs; a larger number is a typing error, not a set to build.
        if first > last || last > 1 << 16 {
            return None;
        }
        told += (last - first) as usize / stride as usize + 1;
        if told > MOST_TOLD {
            return None;
        }
        runs.push((first, last, stride as usize));
    }
    Some(runs)
}

/// The shortest form, which is also the one the kernel prints.
pub fn format(cpus: &BTreeSet<u32>) -> String {
    let mut out = String::new();
    let mut iter = cpus.iter().copied().peekable();
    while let Some(first) = iter.next() {
        let mut last = first;
        while iter.peek() == Some(&(last + 1)) {
            last += 1;
            iter.next();
        }
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&if first == last { first.to_string() } else { format!("{first}-{last}") });
    }
    out
}

/// Bit mask as the kernel prints it: comma separated 32-bit words in hex, the highest first and only
/// as wide as its own bits. `bits` is the number of CPUs that there may ever be.
pub fn to_mask(cpus: &BTreeSet<u32>, bits: u32) -> String {
    let mut words = vec![0u32; bits.div_ceil(32).max(1) as usize];
    for cpu in cpus {
        if let Some(word) = words.get_mut(*cpu as usize / 32) {
            *word |= 1 << (cpu % 32);
        }
    }
    let highest = (bits.max(1) - (words.len() as u32 - 1) * 32).div_ceil(4) as usize;
    let mut mask = String::with_capacity(words.len() * 9);
    for (at, word) in words.iter().enumerate().rev() {
        let (width, comma) = match at + 1 == words.len() {
            true => (highest, ""),
            false => (8, ","),
        };
        let _ = write!(mask, "{comma}{word:0width$x}");
    }
    mask
}

/// The reverse of [`to_mask`], for masks of any width.
pub fn from_mask(mask: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for (w, word) in mask.trim().rsplit(',').enumerate() {
        let bits = u32::from_str_radix(word.trim(), 16).ok()?;
        cpus.extend((0..32).filter(|b| bits >> b & 1 == 1).map(|b| w as u32 * 32 + b));
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_come_back_as_they_went() {
        for text in ["", "0", "0-3", "0-3,8", "1,3,5", "0-511"] {
            assert_eq!(format(&parse(text).unwrap()), text);
        }
        assert_eq!(format(&parse("0-6:2").unwrap()), "0,2,4,6");
        for (list, highest) in
            [("0-511", Some(511)), ("8,0-6:4", Some(8)), ("0-7:2", Some(6)), ("", None)]
        {
            assert_eq!(last(list), highest, "{list}");
            assert_eq!(parse(list).unwrap().last().copied(), highest, "{list}");
        }
        assert_eq!(parse("3-1"), None);
        assert_eq!(parse("0-99999999999"), None);
        assert_eq!(parse("a"), None);
        assert_eq!(parse(&"0-65535,".repeat(16)).map(|cpus| cpus.len()), Some(1 << 16));
        assert_eq!(parse(&"0-65535,".repeat(17)), None);
        let cpus = parse("0,33,63").unwrap();
        assert_eq!(to_mask(&cpus, 64), "80000002,00000001");
        assert_eq!(from_mask("80000002,00000001"), Some(cpus));
        for (list, bits, mask) in [("0", 2, "1"), ("0", 8, "01"), ("35", 36, "8,00000000")] {
            assert_eq!(to_mask(&parse(list).unwrap(), bits), mask);
        }
        assert_eq!(from_mask("f").map(|c| format(&c)).as_deref(), Some("0-3"));
    }
}
