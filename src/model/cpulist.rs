//! CPU lists as the kernel writes them ("0-3,8") and as sets of numbers.

use std::fmt::Write;

/// A list that tells more than every CPU sixteen times over is none.
const MOST_TOLD: usize = 1 << 20;

/// Parses "0-3,8" (also with a stride, "0-6:2"); None when it is not a CPU list.
pub fn parse(text: &str) -> Option<CpuSet> {
    let mut cpus = CpuSet::default();
    for (first, last, stride) in runs(text)? {
        match stride {
            1 => cpus.insert_all(first, last),
            _ => cpus.extend((first..=last).step_by(stride)),
        }
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

/// The shortest form of rising numbers, which is also the one the kernel prints.
pub fn format(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut out = String::new();
    let mut iter = numbers.into_iter().peekable();
    while let Some(first) = iter.next() {
        let mut last = first;
        while iter.peek() == Some(&(last + 1)) {
            last += 1;
            iter.next();
        }
        let comma = if out.is_empty() { "" } else { "," };
        let _ = match first == last {
            true => write!(out, "{comma}{first}"),
            false => write!(out, "{comma}{first}-{last}"),
        };
    }
    out
}

/// Bit mask as the kernel prints it: comma separated 32-bit words in hex, the highest first and only
/// as wide as its own bits. `bits` is the number of CPUs that there may ever be.
pub fn to_mask(cpus: &CpuSet, bits: u32) -> String {
    let count = bits.div_ceil(32).max(1) as usize;
    let highest = (bits.max(1) - (count as u32 - 1) * 32).div_ceil(4) as usize;
    let mut mask = String::with_capacity(count * 9);
    for at in (0..count).rev() {
        let word = (cpus.words.get(at / 2).unwrap_or(&0) >> (at % 2 * 32)) as u32;
        let (width, comma) = if at + 1 == count { (highest, "") } else { (8, ",") };
        let _ = write!(mask, "{comma}{word:0width$x}");
    }
    mask
}

/// The reverse of [`to_mask`], for masks of any width.
pub fn from_mask(mask: &str) -> Option<CpuSet> {
    let mut cpus = CpuSet::default();
    for (w, word) in mask.trim().rsplit(',').enumerate() {
        let bits = u32::from_str_radix(word.trim(), 16).ok()?;
        cpus.extend((0..32).filter(|b| bits >> b & 1 == 1).map(|b| w as u32 * 32 + b));
    }
    Some(cpus)
}

/// CPUs, a bit each: a large node compares thousands of sets of hundreds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuSet {
    /// Without empty words at the end, so that equal sets are equal.
    words: Vec<u64>,
}

impl CpuSet {
    pub fn insert(&mut self, cpu: u32) {
        let at = cpu as usize / 64;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        self.words[at] |= 1 << (cpu % 64);
    }

    /// A word at a time.
    fn insert_all(&mut self, first: u32, last: u32) {
        self.insert(last);
        let (from, to) = (first as usize / 64, last as usize / 64);
        for (at, word) in self.words.iter_mut().enumerate().take(to + 1).skip(from) {
            let low = if at == from { u64::MAX << (first % 64) } else { u64::MAX };
            let high = if at == to { u64::MAX >> (63 - last % 64) } else { u64::MAX };
            *word |= low & high;
        }
    }

    pub fn contains(&self, cpu: u32) -> bool {
        self.words.get(cpu as usize / 64).is_some_and(|word| word >> (cpu % 64) & 1 == 1)
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let bits = |(at, word): (usize, &u64)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.checked_sub(1)?;
                Some(at as u32 * 64 + bit)
            })
        };
        self.words.iter().enumerate().flat_map(bits)
    }

    pub fn first(&self) -> Option<u32> {
        self.iter().next()
    }

    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).all(|(a, b)| a & b == 0)
    }

    pub fn is_subset(&self, of: &Self) -> bool {
        self.minus(of).is_empty()
    }

    pub fn and(&self, other: &Self) -> Self {
        Self::trimmed(self.words.iter().zip(&other.words).map(|(a, b)| a & b).collect())
    }

    pub fn or(&self, other: &Self) -> Self {
        let (mut long, short) = match self.words.len() < other.words.len() {
            true => (other.clone(), self),
            false => (self.clone(), other),
        };
        long.words.iter_mut().zip(&short.words).for_each(|(a, b)| *a |= b);
        long
    }

    pub fn minus(&self, other: &Self) -> Self {
        let theirs = other.words.iter().chain(std::iter::repeat(&0));
        Self::trimmed(self.words.iter().zip(theirs).map(|(a, b)| a & !b).collect())
    }

    fn trimmed(mut words: Vec<u64>) -> Self {
        while words.last() == Some(&0) {
            words.pop();
        }
        CpuSet { words }
    }
}

impl Extend<u32> for CpuSet {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, cpus: I) {
        cpus.into_iter().for_each(|cpu| self.insert(cpu));
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        let mut set = CpuSet::default();
        set.extend(cpus);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_come_back_as_they_went() {
        for text in ["", "0", "0-3", "0-3,8", "1,3,5", "0-511"] {
            assert_eq!(format(parse(text).unwrap().iter()), text);
        }
        assert_eq!(format(parse("0-6:2").unwrap().iter()), "0,2,4,6");
        for (list, highest) in
            [("0-511", Some(511)), ("8,0-6:4", Some(8)), ("0-7:2", Some(6)), ("", None)]
        {
            assert_eq!(last(list), highest, "{list}");
            assert_eq!(parse(list).unwrap().iter().last(), highest, "{list}");
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
        assert_eq!(from_mask("f").map(|c| format(c.iter())).as_deref(), Some("0-3"));
    }

    proptest::proptest! {
        /// As the sets of the standard library do it.
        #[test]
        fn sets_are_sets(a: std::collections::BTreeSet<u16>, b: std::collections::BTreeSet<u16>) {
            let set = |of: &std::collections::BTreeSet<u16>| of.iter().map(|n| u32::from(*n)).collect::<CpuSet>();
            let list = |of: std::collections::BTreeSet<u16>| of.into_iter().map(u32::from).collect::<Vec<_>>();
            let (x, y) = (set(&a), set(&b));
            proptest::prop_assert_eq!(x.and(&y).iter().collect::<Vec<_>>(), list(&a & &b));
            proptest::prop_assert_eq!(x.or(&y).iter().collect::<Vec<_>>(), list(&a | &b));
            proptest::prop_assert_eq!(x.minus(&y).iter().collect::<Vec<_>>(), list(&a - &b));
            proptest::prop_assert_eq!(x.is_subset(&y), a.is_subset(&b));
            proptest::prop_assert_eq!(x.is_disjoint(&y), a.is_disjoint(&b));
            proptest::prop_assert_eq!((x.len(), x == y, x.minus(&x).is_empty()), (a.len(), a == b, true));
            proptest::prop_assert_eq!(parse(&format(x.iter())), Some(x));
        }
    }
}
