//! Groups of a link's settings that ethtool sets in one message.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    Channels,
    Rings,
    Features,
    Coalesce,
}

/// A value that is the driver's to choose.
pub const AUTO: &str = "auto";

pub const GROUPS: [(Group, &str); 4] = [
    (Group::Channels, "channels"),
    (Group::Rings, "rings"),
    (Group::Features, "features"),
    (Group::Coalesce, "coalesce"),
];

impl Group {
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
        GROUPS.iter().find(|(g, _)| *g == self).map_or("", |(_, n)| n)
    }
}
