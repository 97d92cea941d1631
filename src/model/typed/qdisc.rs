//! The root qdisc of a link: "default mq fq_codel quantum=1514", "fq horizon-us=2000000", "mq fq".

use std::fmt;
use std::str::FromStr;

use crate::model::State;
use crate::model::state::fields;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// The kernel made it, of what net.core.default_qdisc said.
    pub by_default: bool,
    /// mq, and of this kind are its leaves.
    pub multi: bool,
    pub kind: String,
    pub options: Options,
}

/// What differs from a plain one of its kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Of a default fq_codel: bytes, where it is one of an earlier MTU.
    pub quantum: Option<u32>,
    /// Of fq: how far ahead a packet may be timed, in microseconds.
    pub horizon_us: Option<u32>,
    /// Of fq: the logarithm to base 2 of its buckets.
    pub buckets_log: Option<u32>,
}

impl Qdisc {
    pub fn fq(options: Options) -> Self {
        Qdisc { by_default: false, multi: false, kind: "fq".into(), options }
    }
}

impl From<Qdisc> for State {
    fn from(qdisc: Qdisc) -> Self {
        State::Is(qdisc.to_string())
    }
}

impl fmt::Display for Qdisc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |there, word| if there { word } else { "" };
        write!(f, "{}{}{}", word(self.by_default, "default "), word(self.multi, "mq "), self.kind)?;
        let Options { quantum, horizon_us, buckets_log } = self.options;
        for (key, value) in
            [("horizon-us", horizon_us), ("buckets-log", buckets_log), ("quantum", quantum)]
        {
            value.map_or(Ok(()), |value| write!(f, " {key}={value}"))?;
        }
        Ok(())
    }
}

impl FromStr for Qdisc {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (by_default, rest) = match text.strip_prefix("default ") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (multi, rest) = match rest.strip_prefix("mq ") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (kind, words) = rest.split_once(' ').unwrap_or((rest, ""));
        if kind.is_empty() {
            return Err(format!("{text:?} names no kind of qdisc"));
        }
        let mut options = Options::default();
        for (key, value) in fields(words) {
            let number = value.parse().map_err(|_| format!("{key}={value} is no number"))?;
            match key {
                "quantum" => options.quantum = Some(number),
                "horizon-us" => options.horizon_us = Some(number),
                "buckets-log" => options.buckets_log = Some(number),
                _ => return Err(format!("{key} is no option of a qdisc of ours")),
            }
        }
        Ok(Qdisc { by_default, multi, kind: kind.to_string(), options })
    }
}
