//! Versions of Cilium and the ranges in which its chart knows a key.

use std::fmt;

/// A version without a patch stands for the newest of its minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: Option<u32>,
}

pub const OLDEST: (u32, u32) = (1, 13);
/// A chart of it was read, if only of a pre-release.
pub const NEWEST: (u32, u32) = (1, 21);
/// What values are for when nobody names a version: the newest that is released.
pub const DEFAULT: Version = Version { major: 1, minor: 20, patch: None };

impl Version {
    /// "1.18", "v1.18.4", "1.21.0-pre.0".
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no version of Cilium: write it as 1.18 or 1.18.4");
        let bare = text.trim().trim_start_matches('v');
        let bare = bare.split(['-', '+']).next().unwrap_or(bare);
        let parts: Result<Vec<u32>, _> = bare.split('.').map(str::parse).collect();
        let (major, minor, patch) = match parts.as_deref() {
            Ok([major, minor]) => (*major, *minor, None),
            Ok([major, minor, patch]) => (*major, *minor, Some(*patch)),
            _ => return Err(wrong()),
        };
        if !(OLDEST..=NEWEST).contains(&(major, minor)) {
            return Err(format!(
                "Cilium {bare} is not among the versions whose charts are known, {}.{} to {}.{}",
                OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1
            ));
        }
        Ok(Version { major, minor, patch })
    }

    fn key(self) -> (u32, u32, u32) {
        (self.major, self.minor, self.patch.unwrap_or(u32::MAX))
    }

    /// ">=1.14 <1.18": every bound must hold; a bound without a patch means its first.
    pub fn within(self, range: &str) -> bool {
        range.split_whitespace().all(|bound| {
            let (least, text) = match bound.strip_prefix(">=") {
                Some(text) => (true, text),
                None => (false, bound.trim_start_matches('<')),
            };
            let mut parts = text.split('.').map(|p| p.parse().unwrap_or(0));
            let mut part = || parts.next().unwrap_or(0);
            let edge = (part(), part(), part());
            if least { self.key() >= edge } else { self.key() < edge }
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        self.patch.map_or(Ok(()), |patch| write!(f, ".{patch}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_ranges() {
        let v = |text| Version::parse(text).unwrap();
        assert_eq!(v("v1.21.0-pre.0").to_string(), "1.21.0");
        assert!(v("1.13").within(">=1.13 <1.14") && !v("1.14").within(">=1.13 <1.14"));
        assert!(v("1.17").within(">=1.17.2") && !v("1.17.1").within(">=1.17.2"));
        assert!(v("1.20").within(">=1.9"));
        for bad in ["", "1", "1.x", "1.12", "2.0", "1.18.4.5"] {
            assert!(Version::parse(bad).is_err(), "{bad}");
        }
    }
}
