//! What the engine must know of a kind of resource: when it is written and in which order, what that costs,
//! whether it can be made, what outlives the kernel, and who is asked.

use super::Impact;

#[derive(Debug)]
pub struct Kind {
    /// For people and docs.
    pub name: &'static str,
    pub stage: Stage,
    /// Within its stage; the lower first.
    pub rank: i32,
    pub back: Back,
    /// What giving it back costs whoever uses the node: its lever may not be in this profile.
    pub impact: Impact,
    /// Writing it makes it where it is absent. The rest is there or cannot be had.
    pub creatable: bool,
    /// Its state is read again at the next boot; the rest dies with the running kernel.
    pub outlives: bool,
    /// Read and written by D-Bus, which does not answer before the network.
    pub by_bus: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reshapes what the rest is computed from: queues, vectors, sizes, who else writes.
    One,
    Two,
    /// Takes packets around other rules: goes away before all else and comes after it.
    Around,
}

/// In which order it goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    Reversed,
    Same,
    Rank(i32),
}

impl Kind {
    pub fn rank(&self, back: bool) -> i32 {
        match (back, self.back) {
            (false, _) | (true, Back::Same) => self.rank,
            (true, Back::Reversed) => -self.rank,
            (true, Back::Rank(rank)) => rank,
        }
    }
}

pub const fn one(name: &'static str, rank: i32, impact: Impact) -> Kind {
    let (stage, back) = (Stage::One, Back::Reversed);
    let (creatable, outlives, by_bus) = (false, false, false);
    Kind { name, stage, rank, back, impact, creatable, outlives, by_bus }
}

pub const fn two(name: &'static str, rank: i32, impact: Impact) -> Kind {
    Kind { stage: Stage::Two, back: Back::Same, ..one(name, rank, impact) }
}

pub const fn around(name: &'static str, rank: i32, impact: Impact) -> Kind {
    Kind { stage: Stage::Around, creatable: true, ..one(name, rank, impact) }
}
