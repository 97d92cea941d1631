//! Groups of a link's settings that ethtool sets in one message: one row each. The compiler asks for the row
//! of a new one here, and for its numbers in `linux/ethtool.rs`.

use super::Impact;
use super::kind::{Kind, one, two};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    Channels,
    Rings,
    Features,
    Coalesce,
    Pause,
}

/// A value that is the driver's to choose.
pub const AUTO: &str = "auto";

#[derive(Debug)]
pub struct Row {
    pub group: Group,
    /// In `ethtool:LINK/NAME`.
    pub name: &'static str,
    /// What the program ethtool sets it by; undo.sh takes the first.
    pub options: &'static [&'static str],
    /// What its keys begin with in NetworkManager's connections, and in ifupdown's interfaces (of Debian's ethtool
    /// package); empty where that has none.
    pub network_manager: &'static str,
    pub ifupdown: &'static str,
    /// Key of TuneD's [net].
    pub tuned: &'static str,
    /// Keys that the program takes as on and off, where netlink has 1 and 0.
    pub switches: &'static [&'static str],
    /// Keys that the program calls otherwise.
    pub spelled: &'static [(&'static str, &'static str)],
    pub disturbs: Disturbs,
    pub kind: Kind,
}

/// What setting it makes anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbs {
    Nothing,
    /// The link's queues, with all that is set for each.
    Queues,
    /// vmxnet3 makes its RSS table anew with its rings.
    Rss,
}

static CHANNELS: Row = Row {
    group: Group::Channels,
    name: "channels",
    options: &["-L", "--set-channels"],
    network_manager: "channels-",
    ifupdown: "",
    tuned: "channels",
    switches: &[],
    spelled: &[],
    disturbs: Disturbs::Queues,
    kind: one("channels", 4, Impact::LinkReset),
};
static RINGS: Row = Row {
    group: Group::Rings,
    name: "rings",
    options: &["-G", "--set-ring"],
    network_manager: "ring-",
    ifupdown: "hardware-dma-ring-",
    tuned: "ring",
    switches: &[],
    spelled: &[],
    disturbs: Disturbs::Rss,
    kind: one("rings", 5, Impact::LinkReset),
};
static FEATURES: Row = Row {
    group: Group::Features,
    name: "features",
    options: &["-K", "--offload", "--features"],
    network_manager: "feature-",
    ifupdown: "offload-",
    tuned: "features",
    switches: &[],
    spelled: &[],
    disturbs: Disturbs::Nothing,
    kind: one("offloads", 6, Impact::LinkReset),
};
static COALESCE: Row = Row {
    group: Group::Coalesce,
    name: "coalesce",
    options: &["-C", "--coalesce"],
    network_manager: "coalesce-",
    ifupdown: "hardware-irq-coalesce-",
    tuned: "coalesce",
    switches: &["adaptive-rx", "adaptive-tx", "cqe-rx", "cqe-tx"],
    spelled: &[("cqe-rx", "cqe-mode-rx"), ("cqe-tx", "cqe-mode-tx")],
    disturbs: Disturbs::Nothing,
    kind: two("coalescing", 19, Impact::None),
};
static PAUSE: Row = Row {
    group: Group::Pause,
    name: "pause",
    options: &["-A", "--pause"],
    network_manager: "pause-",
    ifupdown: "ethernet-pause-",
    tuned: "pause",
    switches: &["autoneg", "rx", "tx"],
    spelled: &[],
    disturbs: Disturbs::Nothing,
    kind: one("flow control", 8, Impact::LinkReset),
};

/// By the text of a resource.
pub static GROUPS: [&Row; 5] = [&CHANNELS, &RINGS, &FEATURES, &COALESCE, &PAUSE];

impl Group {
    pub fn row(self) -> &'static Row {
        match self {
            Group::Channels => &CHANNELS,
            Group::Rings => &RINGS,
            Group::Features => &FEATURES,
            Group::Coalesce => &COALESCE,
            Group::Pause => &PAUSE,
        }
    }

    /// Under adaptive mode the driver moves the values by itself: they are "auto", whatever it says.
    pub fn canonical(self, text: &str) -> String {
        if self != Group::Coalesce {
            return text.to_string();
        }
        let adaptive = |side: &str| text.split(' ').any(|p| p == format!("adaptive-{side}=1"));
        let (rx, tx) = (adaptive("rx"), adaptive("tx"));
        let masked = |pair: &str| match pair.split_once('=') {
            Some((key, _)) if key.starts_with("rx-") && rx || key.starts_with("tx-") && tx => {
                format!("{key}={AUTO}")
            }
            _ => pair.to_string(),
        };
        text.split(' ').map(masked).collect::<Vec<_>>().join(" ")
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_found_by_its_text() {
        for (at, row) in GROUPS.iter().enumerate() {
            assert!(std::ptr::eq(row.group.row(), *row), "{}", row.name);
            assert!(
                GROUPS[at + 1..]
                    .iter()
                    .all(|r| r.name != row.name && r.options[0] != row.options[0])
            );
            let resource: crate::model::Resource =
                format!("ethtool:eth0/{}", row.name).parse().unwrap();
            assert!(std::ptr::eq(resource.kind(), &row.kind));
        }
    }
}
