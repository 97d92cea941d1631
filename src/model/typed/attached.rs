//! A program on a link as it is asked for: the state of a BPF hook, whose text is that of the journal.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::bpf::Deny;
use crate::model::state::field;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attached {
    /// Host routing at a link's ingress.
    Route { via: Via, to_pod: bool, rp_filter: u32, mtu: u32, locals: String, tag: String },
    /// Between uplinks, in XDP.
    Forward { xdp: Xdp, rp_filter: u32, locals: String, tag: String },
    /// A drop list; `config` is its digest.
    Filter { xdp: Xdp, config: String, tag: String, deny: Vec<Deny> },
    /// The operator's own.
    Object { path: String, xdp: Xdp },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xdp {
    pub program: String,
    pub way: Way,
}

/// How a program at ingress is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    Tcx,
    Clsact,
}

/// In the driver, or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    #[default]
    Native,
    Generic,
}

impl Attached {
    /// It stands on maps that the programs of all links share.
    pub fn shares(&self) -> bool {
        matches!(self, Attached::Route { .. } | Attached::Forward { .. })
    }
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attached::Route { via, to_pod, rp_filter, mtu, locals, tag } => {
                let via = if *via == Via::Tcx { "tcx" } else { "clsact" };
                let to = if *to_pod { "pod" } else { "link" };
                write!(
                    f,
                    "object=host_routing mode=full via={via} to={to} rp={rp_filter} mtu={mtu} \
                     locals={locals} tag={tag}"
                )
            }
            Attached::Forward { xdp, rp_filter, locals, tag } => {
                write!(f, "object=xdp mode=forward {xdp} rp={rp_filter} locals={locals} tag={tag}")
            }
            Attached::Filter { xdp, config, tag, deny } => {
                writeln!(f, "object=xdp mode=filter {xdp} config={config} tag={tag}")?;
                deny.iter().try_for_each(|entry| writeln!(f, "deny {entry}"))
            }
            Attached::Object { path, xdp } => write!(f, "object={path} mode=object {xdp}"),
        }
    }
}

impl fmt::Display for Xdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.way == Way::Native { "native" } else { "generic" };
        write!(f, "program={} attach={way}", self.program)
    }
}

impl FromStr for Attached {
    type Err = String;

    /// Nothing is made up: what does not say all of it is refused.
    fn from_str(text: &str) -> Result<Self, String> {
        let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
        let word = |key: &str| {
            let found = field(head, key).map(str::to_string);
            found.ok_or_else(|| format!("{head:?} does not say its {key}"))
        };
        let number = |key: &str| {
            let text = word(key)?;
            text.parse::<u32>().map_err(|_| format!("{key}={text} is no number"))
        };
        let one_of = |key: &str, first: &str, second: &str| match word(key)? {
            text if text == first => Ok(true),
            text if text == second => Ok(false),
            text => Err(format!("{key}={text} is neither {first} nor {second}")),
        };
        let xdp = || {
            let way =
                if one_of("attach", "native", "generic")? { Way::Native } else { Way::Generic };
            Ok::<_, String>(Xdp { program: word("program")?, way })
        };
        let (locals, tag) = (|| word("locals"), || word("tag"));
        match (word("object")?.as_str(), word("mode")?.as_str()) {
            ("host_routing", "full") => Ok(Attached::Route {
                via: if one_of("via", "tcx", "clsact")? { Via::Tcx } else { Via::Clsact },
                to_pod: one_of("to", "pod", "link")?,
                rp_filter: number("rp")?,
                mtu: number("mtu")?,
                locals: locals()?,
                tag: tag()?,
            }),
            ("xdp", "forward") => Ok(Attached::Forward {
                xdp: xdp()?,
                rp_filter: number("rp")?,
                locals: locals()?,
                tag: tag()?,
            }),
            ("xdp", "filter") => {
                let entry = |line: &str| match line.strip_prefix("deny ") {
                    Some(entry) => entry.parse(),
                    None => Err(format!("{line:?} is no entry of a drop list")),
                };
                let deny = rest.lines().map(entry).collect::<Result<_, _>>()?;
                Ok(Attached::Filter { xdp: xdp()?, config: word("config")?, tag: tag()?, deny })
            }
            (path, "object") => Ok(Attached::Object { path: path.to_string(), xdp: xdp()? }),
            (object, mode) => Err(format!("nettune has no program {object} of mode {mode}")),
        }
    }
}

#[cfg(test)]
mod tests;
