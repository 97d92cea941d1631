//! What a tweak needs from the node, and what was found.

use super::features::Since;
pub use super::helm::HelmValue;

/// Three answers, of which only the first two are conclusive. Unknown meets no need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    Met,
    /// With a `fix` an operator can mend it (blocked); without one this kernel or hardware cannot
    /// (unsupported). `since`: the first kernel that can.
    Unmet {
        why: String,
        fix: Option<String>,
        since: Option<String>,
    },
    /// `fix`: what to run to find out.
    Unknown {
        error: String,
        fix: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Short name, stable: it is the reason's code in JSON ("sch-fq", "direct-routing").
    pub name: &'static str,
    pub probe: Probe,
}

impl Need {
    pub fn met(name: &'static str) -> Self {
        Need { name, probe: Probe::Met }
    }

    /// An operator can mend it.
    pub fn blocked(name: &'static str, why: impl Into<String>, fix: impl Into<String>) -> Self {
        let probe = Probe::Unmet { why: why.into(), fix: Some(fix.into()), since: None };
        Need { name, probe }
    }

    /// Nobody can, with this kernel, NIC or machine.
    pub fn unsupported(name: &'static str, why: impl Into<String>) -> Self {
        Need { name, probe: Probe::Unmet { why: why.into(), fix: None, since: None } }
    }

    pub fn unknown(name: &'static str, error: impl Into<String>, fix: Option<&str>) -> Self {
        Need { name, probe: Probe::Unknown { error: error.into(), fix: fix.map(str::to_string) } }
    }

    /// Adds the first kernel release that can.
    pub fn since(mut self, (major, minor): Since) -> Self {
        if let Probe::Unmet { since, .. } = &mut self.probe {
            *since = Some(format!("{major}.{minor}"));
        }
        self
    }
}

/// What a preflight sees and what does not hold the lever back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Short name, stable: the reason's code in JSON.
    pub code: &'static str,
    pub text: String,
    pub fix: Option<String>,
}

impl Warning {
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Warning { code, text: text.into(), fix: None }
    }

    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}
