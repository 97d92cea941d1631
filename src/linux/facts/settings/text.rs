//! What the readers of other programs' files have in common: their syntax, and their words for a value.

use crate::model::group::GROUPS;

/// A line that says something, by the file that says it: a drop-in adds lines to another's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    pub file: String,
    pub line: u32,
    pub section: String,
    /// Empty for the head of a section.
    pub key: String,
    pub value: String,
}

/// The lines of a file with sections, as systemd.syntax(7) and GKeyFile have them.
pub fn lines(file: &str, text: &str) -> Vec<Line> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (line, text) in joined(text) {
        let of = |section: &str, key: &str, value: &str| Line {
            file: file.to_string(),
            line,
            section: section.to_string(),
            key: key.trim().to_string(),
            value: value.trim().to_string(),
        };
        if let Some(name) = text.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_string();
            found.push(of(&section, "", ""));
        } else if let Some((key, value)) = text.split_once('=') {
            found.push(of(&section, key, value));
        }
    }
    found
}

/// Lines without comments, those that end in a backslash with what follows them, by their first number.
pub fn joined(text: &str) -> Vec<(u32, String)> {
    let mut found: Vec<(u32, String)> = Vec::new();
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match found.last_mut().filter(|_| open) {
            Some((_, whole)) => {
                whole.push(' ');
                whole.push_str(part);
            }
            None => found.push((number(at), part.to_string())),
        }
        open = more;
    }
    found.retain(|(_, line)| !line.trim().is_empty());
    found
}

/// A line's number from its place.
pub fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1)
}

/// Shell-style patterns, as fnmatch(3) has them without flags.
pub fn fnmatch(pattern: &str, name: &str) -> bool {
    if !pattern.contains(['*', '?', '[', '\\']) {
        return pattern == name;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut of) = (0, 0);
    // Where to go on when what follows the last star does not fit here.
    let mut star = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            star = Some((at, of));
            continue;
        }
        let Some(&c) = name.get(of) else { return at == pattern.len() };
        if let Some(width) = one(&pattern[at..], c) {
            (at, of) = (at + width, of + 1);
            continue;
        }
        let Some((next, from)) = star else { return false };
        (at, of) = (next, from + 1);
        star = Some((next, from + 1));
    }
}

/// How much of the pattern `c` takes, if it fits.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        [] => None,
        ['?', ..] => Some(1),
        ['\\', escaped, ..] => (*escaped == c).then_some(2),
        ['[', rest @ ..] => match set(rest, c) {
            Some((fits, width)) => fits.then_some(width + 1),
            None => (c == '[').then_some(1),
        },
        [plain, ..] => (*plain == c).then_some(1),
    }
}

/// Whether `c` is in the set that begins here, and how long the set is; None where it never ends.
fn set(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.first(), Some('!' | '^'));
    let start = usize::from(negated);
    // A bracket that comes first is one of the set.
    let end = (start + 1..pattern.len()).find(|&i| pattern[i] == ']')?;
    let (mut at, mut found) = (start, false);
    while at < end {
        match pattern[at..end] {
            [low, '-', high, ..] => {
                found |= (low..=high).contains(&c);
                at += 3;
            }
            [plain, ..] => {
                found |= plain == c;
                at += 1;
            }
            [] => break,
        }
    }
    Some((found != negated, end + 1))
}

/// As systemd.syntax(7), GKeyFile and ethtool write them.
pub fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// Bytes with K, M or G to the base of 1024.
pub fn bytes(value: &str) -> Option<u64> {
    let (digits, unit) = match value.trim_end_matches('B').chars().last()? {
        'K' => (value.trim_end_matches(['K', 'B']), 1 << 10),
        'M' => (value.trim_end_matches(['M', 'B']), 1 << 20),
        'G' => (value.trim_end_matches(['G', 'B']), 1 << 30),
        _ => (value.trim_end_matches('B'), 1u64),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(unit)
}

/// Microseconds of a time span: a number alone is seconds.
pub fn microseconds(value: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = value.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let amount: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "us" | "usec" | "µs" => 1,
            "ms" | "msec" => 1_000,
            "" | "s" | "sec" | "second" | "seconds" => 1_000_000,
            "m" | "min" | "minute" | "minutes" => 60_000_000,
            _ => return None,
        };
        total = total.checked_add(amount.checked_mul(unit)?)?;
        rest = rest[letters..].trim_start();
    }
    (!value.trim().is_empty()).then_some(total)
}

/// What the kernel reads in a value of numbers: 0x80 is 128, 010 is 8.
pub fn numbers(value: &str) -> String {
    let plain = |word: &str| {
        let (sign, digits) = match word.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", word),
        };
        let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
        let number = match hex {
            Some(hex) => u64::from_str_radix(hex, 16),
            None if digits.len() > 1 && digits.starts_with('0') => u64::from_str_radix(digits, 8),
            None => return word.to_string(),
        };
        number.map_or_else(|_| word.to_string(), |n| format!("{sign}{n}"))
    };
    value.split_whitespace().map(plain).collect::<Vec<_>>().join(" ")
}

/// The kernel's name of a feature for ethtool's short one.
pub fn feature(name: &str) -> &str {
    match name {
        "gro" => "rx-gro",
        "gso" => "tx-generic-segmentation",
        "lro" => "rx-lro",
        "tso" => "tx-tcp-segmentation",
        "rx" => "rx-checksum",
        "sg" => "tx-scatter-gather",
        "rxvlan" => "rx-vlan-hw-parse",
        "txvlan" => "tx-vlan-hw-insert",
        "rxhash" => "rx-hashing",
        "ntuple" => "rx-ntuple-filter",
        other => other,
    }
}

fn switched(group: &str, key: &str) -> bool {
    GROUPS.iter().any(|row| row.name == group && row.switches.contains(&key))
}

/// One field of an ethtool group in our words: features are on or off, other switches 1 or 0. Without a value
/// where it says something else than a number, such as "max".
pub fn field(group: &str, key: &str, value: &str) -> (String, Option<String>) {
    let switch = |on, off| boolean(value).map(|b| String::from(if b { on } else { off }));
    match group {
        "features" => (feature(key).to_string(), switch("on", "off")),
        _ if switched(group, key) => (key.to_string(), switch("1", "0")),
        _ => (key.to_string(), value.parse::<u64>().ok().map(|n| n.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        let fits = [
            ("*", "eth0"),
            ("eth?", "eth0"),
            ("e[a-tn]h*[0-9]", "eth10"),
            ("[!w]*", "eth0"),
            ("en*s0", "enp1s0s0"),
            ("bond0.7", "bond0.7"),
            ("a\\*b", "a*b"),
            ("[", "["),
            ("[]x]", "]"),
            ("", ""),
        ];
        for (pattern, name) in fits {
            assert!(fnmatch(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("eth?", "eth10"), ("[!e]*", "eth0"), ("", "x"), ("en*s0", "enp1"), ("e", "")]
        {
            assert!(!fnmatch(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn values_in_others_words() {
        assert_eq!(
            [bytes("9000"), bytes("9K"), bytes("1MB")],
            [Some(9000), Some(9216), Some(1 << 20)]
        );
        assert_eq!([bytes(""), bytes("x"), bytes("99999999999999999G")], [None; 3]);
        assert_eq!(
            [microseconds("50us"), microseconds("2min 1ms"), microseconds("3")],
            [Some(50), Some(120_001_000), Some(3_000_000)]
        );
        assert_eq!([microseconds(""), microseconds("max"), microseconds("1 fortnight")], [None; 3]);
        assert_eq!(numbers("0x80  010\t-0x1 9 cubic 0xzz"), "128 8 -1 9 cubic 0xzz");
        assert_eq!(
            field("coalesce", "adaptive-rx", "on"),
            ("adaptive-rx".into(), Some("1".into()))
        );
        assert_eq!(field("rings", "rx", "max"), ("rx".into(), None));
        assert_eq!(field("pause", "rx", "off"), ("rx".into(), Some("0".into())));
    }

    #[test]
    fn a_line_goes_on_behind_a_backslash_and_a_comment() {
        let text = "[A]\nK=a \\\n# no\n b\n;x=1\n[B]\nk =  v\n";
        let told: Vec<String> = lines("f", text)
            .iter()
            .map(|l| format!("{} {} {}={}", l.line, l.section, l.key, l.value))
            .collect();
        assert_eq!(told, ["1 A =", "2 A K=a  b", "6 B =", "7 B k=v"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(pattern in "[\\]\\[*?!^a-c\\\\-]{0,12}", name in "[\\]\\[a-c-]{0,12}", text in "([\\[\\]=#;\\\\ a0-9xKusé\n]){0,60}") {
            fnmatch(&pattern, &name);
            prop_assert!(fnmatch("*", &name));
            lines("f", &text);
            bytes(&text);
            microseconds(&text);
            numbers(&text);
        }
    }
}
