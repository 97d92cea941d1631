//! What a resource is, as canonical text, and what it should be.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Canonical text: the same state is always the same text, so equality, display, diff and journal
/// need nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    Absent,
    Is(String),
    /// Somebody else's, not to be touched: a qdisc set by hand, an XDP program, a table named as ours.
    Foreign {
        what: String,
        owner: Option<String>,
    },
}

impl State {
    pub fn is(text: impl Into<String>) -> Self {
        State::Is(text.into())
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            State::Is(text) => Some(text),
            _ => None,
        }
    }

    /// The value of `key` in a state of the form `rx=1024 tx=512`.
    pub fn field(&self, key: &str) -> Option<&str> {
        field(self.text()?, key)
    }

    /// The number at `key`; 0 where such a state has no such key, None where it is no number.
    pub fn count(&self, key: &str) -> Option<u32> {
        match self.field(key) {
            Some(text) => text.parse().ok(),
            None => self.text().map(|_| 0),
        }
    }
}

/// The pairs of a state of the form `rx=1024 tx=512`.
pub fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_whitespace().filter_map(|pair| pair.split_once('='))
}

/// The value of `key` among them.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    fields(text).find(|(k, _)| *k == key).map(|(_, value)| value)
}

impl fmt::Display for State {
    /// For one line of a table: a file's content is shown by its size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Absent => write!(f, "absent"),
            State::Is(text) => match text.split_once('\n') {
                Some((head, rest)) => write!(f, "{head} and {} more lines", rest.lines().count()),
                None => write!(f, "{}", if text.is_empty() { "(empty)" } else { text }),
            },
            State::Foreign { what, owner: Some(owner) } => write!(f, "{what}, of {owner}"),
            State::Foreign { what, owner: None } => write!(f, "{what}, not ours"),
        }
    }
}

/// JSON: text, null for absent, or `{foreign, owner}`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Text(String),
    Foreign { foreign: String, owner: Option<String> },
    Absent(()),
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            State::Absent => None,
            State::Is(text) => Some(Wire::Text(text.clone())),
            State::Foreign { what, owner } => {
                Some(Wire::Foreign { foreign: what.clone(), owner: owner.clone() })
            }
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // Not by Option: a missing field would be absent, and so would the baseline of a damaged record.
        Ok(match Wire::deserialize(d)? {
            Wire::Absent(()) => State::Absent,
            Wire::Text(text) => State::Is(text),
            Wire::Foreign { foreign, owner } => State::Foreign { what: foreign, owner },
        })
    }
}

/// What should be true of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    Exactly(State),
    /// Number by number ("4096 131072 6291456"): raise what is lower, never lower.
    AtLeast(String),
    AtMost(String),
    /// A set of words or numbers: what is missing is added, what others put in stays.
    Includes(String),
    /// Some fields of a `rx=1024 tx=512` state; the others stay.
    Fields(BTreeMap<String, Want>),
}

impl Want {
    pub fn is(text: impl Into<String>) -> Self {
        Want::Exactly(State::is(text))
    }

    pub fn field(key: &str, want: Want) -> Self {
        Want::Fields(BTreeMap::from([(key.to_string(), want)]))
    }

    /// The state that fulfils this, starting from `from`; `from` itself if it already does.
    pub fn resolve(&self, from: &State) -> Result<State, String> {
        if let (State::Foreign { .. }, true) =
            (from, !matches!(self, Want::Exactly(s) if s == from))
        {
            return Err(format!("{from}"));
        }
        match self {
            Want::Exactly(state) => Ok(state.clone()),
            Want::AtLeast(floor) => Self::numbers(from, floor, u64::max),
            Want::AtMost(ceiling) => Self::numbers(from, ceiling, u64::min),
            Want::Includes(words) => {
                Ok(State::Is(union(from.text().ok_or("there is nothing to add to")?, words)))
            }
            Want::Fields(wanted) => {
                let text = from.text().ok_or("there is nothing to change")?;
                let mut pairs = Vec::new();
                for (key, value) in fields(text) {
                    let new = match wanted.get(key) {
                        Some(want) => want.resolve(&State::is(value))?,
                        None => State::is(value),
                    };
                    let new = new.text().unwrap_or_default();
                    if new.contains(char::is_whitespace) {
                        return Err(format!("{key} takes one word, not {new:?}"));
                    }
                    pairs.push(format!("{key}={new}"));
                }
                if let Some(missing) =
                    wanted.keys().find(|k| fields(text).all(|(key, _)| key != *k))
                {
                    return Err(format!("it has no {missing}"));
                }
                Ok(State::Is(pairs.join(" ")))
            }
        }
    }

    fn numbers(from: &State, bound: &str, pick: fn(u64, u64) -> u64) -> Result<State, String> {
        let text = from.text().ok_or("there is no value to compare with")?;
        let parse = |t: &str| -> Option<Vec<u64>> {
            t.split_whitespace().map(|n| n.parse().ok()).collect()
        };
        let (Some(have), Some(bound_numbers)) = (parse(text), parse(bound)) else {
            return Err(format!("{text:?} and {bound:?} are not both numbers"));
        };
        if have.len() != bound_numbers.len() {
            return Err(format!("{text:?} has not as many numbers as {bound:?}"));
        }
        let picked = have.iter().zip(&bound_numbers).map(|(a, b)| pick(*a, *b).to_string());
        Ok(State::Is(picked.collect::<Vec<_>>().join(" ")))
    }

    pub fn met_by(&self, state: &State) -> bool {
        self.resolve(state).as_ref() == Ok(state)
    }

    /// Whether `now` differs from `wrote` only where others went beyond a bound: it still holds.
    pub fn beyond(&self, wrote: &State, now: &State) -> bool {
        match self {
            Want::AtLeast(_) | Want::AtMost(_) => self.met_by(now),
            Want::Fields(wanted) => {
                let (Some(wrote), Some(now)) = (wrote.text(), now.text()) else { return false };
                let holds = |((key, was), (same, is)): ((&str, &str), (&str, &str))| {
                    let further = |want: &Want| want.beyond(&State::is(was), &State::is(is));
                    key == same && (was == is || wanted.get(key).is_some_and(further))
                };
                fields(wrote).count() == fields(now).count()
                    && fields(wrote).zip(fields(now)).all(holds)
            }
            Want::Exactly(_) | Want::Includes(_) => false,
        }
    }

    /// One want that fulfils both, if there is one.
    pub fn merge(&self, other: &Want) -> Option<Want> {
        let bound = |a: &str, b: &str, pick| {
            Self::numbers(&State::is(a), b, pick).ok().and_then(|s| s.text().map(str::to_string))
        };
        match (self, other) {
            (a, b) if a == b => Some(a.clone()),
            (Want::AtLeast(a), Want::AtLeast(b)) => bound(a, b, u64::max).map(Want::AtLeast),
            (Want::AtMost(a), Want::AtMost(b)) => bound(a, b, u64::min).map(Want::AtMost),
            (Want::Includes(a), Want::Includes(b)) => Some(Want::Includes(union(a, b))),
            (Want::Fields(a), Want::Fields(b)) => {
                let mut all = a.clone();
                for (key, want) in b {
                    let merged = match all.get(key) {
                        Some(mine) => mine.merge(want)?,
                        None => want.clone(),
                    };
                    all.insert(key.clone(), merged);
                }
                Some(Want::Fields(all))
            }
            _ => None,
        }
    }
}

/// The words of both, numbers in their order.
fn union(a: &str, b: &str) -> String {
    let words = a.split_whitespace().chain(b.split_whitespace());
    let mut keyed: Vec<(u64, &str)> = words.map(|w| (w.parse().unwrap_or(u64::MAX), w)).collect();
    keyed.sort_unstable();
    keyed.dedup();
    keyed.iter().map(|(_, w)| *w).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Want::Exactly(state) => write!(f, "{state}"),
            Want::AtLeast(n) => write!(f, "at least {n}"),
            Want::AtMost(n) => write!(f, "at most {n}"),
            Want::Includes(words) => write!(f, "with {words}"),
            Want::Fields(map) => {
                let all: Vec<String> = map.iter().map(|(k, w)| format!("{k} {w}")).collect();
                write!(f, "{}", all.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_least(n: &str) -> Want {
        Want::AtLeast(n.into())
    }

    #[test]
    fn at_least_raises_number_by_number_and_never_lowers() {
        let from = State::is("4096 200000 6291456");
        let to = at_least("8192 131072 16777216").resolve(&from).unwrap();
        assert_eq!(to, State::is("8192 200000 16777216"));
        assert!(at_least("1 1").resolve(&from).is_err());
        assert!(at_least("1").resolve(&State::Absent).is_err());
        assert!(at_least("1").met_by(&State::is("4096")));
    }

    #[test]
    fn a_count_that_is_no_number_is_none_and_no_zero() {
        let state = State::is("rx=4 tx=n/a");
        assert_eq!(["rx", "tx", "combined"].map(|k| state.count(k)), [Some(4), None, Some(0)]);
        assert_eq!(State::Absent.count("rx"), None);
    }

    #[test]
    fn fields_change_what_they_name() {
        let want = Want::field("rx", at_least("4096"));
        assert_eq!(want.resolve(&State::is("rx=1024 tx=512")), Ok(State::is("rx=4096 tx=512")));
        assert!(want.resolve(&State::is("tx=512")).is_err());
        let two = Want::field("rx", Want::Includes("5".into())).resolve(&State::is("rx=8"));
        assert_eq!(two, Err("rx takes one word, not \"5 8\"".into()));
    }

    #[test]
    fn a_bound_that_others_went_beyond_holds() {
        let went =
            |want: &Want, wrote: &str, now: &str| want.beyond(&State::is(wrote), &State::is(now));
        assert!(went(&at_least("4 8"), "4 8", "4 9") && !went(&at_least("4 8"), "4 8", "3 9"));
        assert!(went(&Want::AtMost("8".into()), "8", "2"));
        assert!(!went(&Want::is("8"), "8", "9"));
        let rx = Want::field("rx", at_least("8"));
        assert!(went(&rx, "rx=8 tx=2", "rx=9 tx=2"));
        assert!(!went(&rx, "rx=8 tx=2", "rx=9 tx=3") && !went(&rx, "rx=8 tx=2", "rx=7 tx=2"));
    }

    #[test]
    fn a_set_grows_and_keeps_what_others_put_in() {
        let want = Want::Includes("34 9".into());
        assert_eq!(want.resolve(&State::is("100 7")), Ok(State::is("7 9 34 100")));
        assert_eq!(want.resolve(&State::is("")), Ok(State::is("9 34")));
        assert!(want.met_by(&State::is("9 34 100")));
    }

    #[test]
    fn foreign_states_are_never_resolved() {
        let foreign = State::Foreign { what: "htb".into(), owner: None };
        assert!(Want::is("fq").resolve(&foreign).is_err());
        assert!(Want::Exactly(foreign.clone()).met_by(&foreign));
    }

    #[test]
    fn two_wants_share_or_conflict() {
        assert_eq!(at_least("1 9").merge(&at_least("5 2")), Some(at_least("5 9")));
        assert_eq!(Want::is("a").merge(&Want::is("a")), Some(Want::is("a")));
        assert_eq!(Want::is("a").merge(&Want::is("b")), None);
        assert_eq!(Want::is("1").merge(&at_least("1")), None);
    }

    #[test]
    fn json_form() {
        let foreign = State::Foreign { what: "xdp".into(), owner: Some("cilium".into()) };
        for state in [State::Absent, State::is("1"), foreign] {
            let text = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        }
    }
}
