//! TuneD's profile: "profile=NAME+NAME mode=manual". Names have no spaces, which separate a state's pairs.

use std::fmt;
use std::str::FromStr;

use crate::model::State;
use crate::model::state::field;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// None where TuneD is off.
    pub names: Vec<String>,
    pub mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// TuneD chose by itself.
    Auto,
    Manual,
    Off,
}

impl Mode {
    pub const ALL: [(Mode, &str); 3] =
        [(Mode::Auto, "auto"), (Mode::Manual, "manual"), (Mode::Off, "off")];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(mode, _)| *mode)
    }
}

impl Profile {
    /// From names as TuneD has them, with spaces between.
    pub fn manual(names: &str) -> Self {
        Profile { names: words(names, ' '), mode: Mode::Manual }
    }

    /// As TuneD has them.
    pub fn spaced(&self) -> String {
        self.names.join(" ")
    }
}

fn words(names: &str, between: char) -> Vec<String> {
    names.split(between).filter(|n| !n.is_empty()).map(str::to_string).collect()
}

impl From<Profile> for State {
    fn from(profile: Profile) -> Self {
        State::Is(profile.to_string())
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = Mode::ALL.iter().find(|(mode, _)| *mode == self.mode).map_or("", |(_, n)| n);
        write!(f, "profile={} mode={mode}", self.names.join("+"))
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} does not say a profile of TuneD and its mode");
        let word = |key| field(text, key).ok_or_else(wrong);
        let mode = Mode::named(word("mode")?).ok_or_else(wrong)?;
        let names = words(word("profile")?, '+');
        // One that has profiles is not off, and one that is off has none.
        match names.is_empty() == (mode == Mode::Off) {
            true => Ok(Profile { names, mode }),
            false => Err(wrong()),
        }
    }
}
