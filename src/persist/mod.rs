//! Kept over reboots: which files make a profile come back at every boot. Pure: what they hold is
//! computed here, and the engine writes, verifies and takes them away as it does any other resource.
//! `units.rs` is systemd's units and udev's rule, `sysctls.rs` the drop-in. Uses the model alone;
//! `commands/persist.rs` and `image/` ask for them. Begin with `files` here.

mod sysctls;
mod units;

use crate::model::State;
use crate::model::typed::file::File;
pub use sysctls::{dropin, dropin_name};
pub use units::LATE_SECONDS;

/// The row that holds these files.
pub const NAME: &str = "persist";
/// Folder of the profile that comes back, and of nothing else.
pub const PROFILES: &str = "/etc/nettune/boot";
pub const UNITS: &str = "/etc/systemd/system";
pub const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";
pub const RULES: &str = "/etc/udev/rules.d";
pub const SYSCTLS: &str = "/etc/sysctl.d";

/// What is to come back at each boot.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// Who writes the files and how they go away again, for their first line.
    pub origin: &'a str,
    /// Path of nettune on the node.
    pub binary: &'a str,
    pub profile: &'a str,
    /// The profile resolved, as TOML.
    pub table: &'a str,
    /// Links by bus path and permanent address, where the profile itself names none: before the
    /// network is there no route tells which they are.
    pub uplinks: &'a [String],
    /// Name and lines of the sysctl drop-in; nothing when the profile sets none.
    pub dropin: Option<(&'a str, &'a str)>,
}

/// Folders, each before what is in it, then files and links, with their states.
pub fn files(setup: &Setup) -> Vec<(String, State)> {
    let profile = format!("{PROFILES}/{}.toml", stem(setup.profile));
    let kept = Some(profile.as_str());
    let early = units::early(setup.binary, kept, setup.uplinks);
    let late = units::late(setup.binary, kept);
    let link = units::link(setup.binary, kept);
    let heading = format!("# Written by {}.\n", setup.origin);
    let text = |content: &str| text(&format!("{heading}{content}"));
    let table = format!(
        "# The profile {} as it was resolved; an edit here is seen as drift.\n{}",
        setup.profile.escape_debug(),
        setup.table
    );
    let mut files = vec![
        (profile.clone(), text(&table)),
        (format!("{UNITS}/nettune-early.service"), text(&early)),
        (format!("{UNITS}/nettune.service"), text(&late)),
        (format!("{UNITS}/nettune-link@.service"), text(&link)),
        (
            format!("{WANTS}/nettune-early.service"),
            File::Link("../nettune-early.service".into()).into(),
        ),
        (format!("{WANTS}/nettune.service"), File::Link("../nettune.service".into()).into()),
        (format!("{RULES}/90-nettune.rules"), text(units::RULE)),
    ];
    if let Some((name, lines)) = setup.dropin {
        files.push((format!("{SYSCTLS}/{name}"), text(lines)));
    }
    files
}

/// The units of a package: off until they are enabled, and for the node's own profile.
pub fn packaged() -> [(&'static str, String); 2] {
    let unit = |text: String| {
        text.replacen("[Unit]\n", "[Unit]\nConditionPathExists=/etc/nettune/nettune.toml\n", 1)
    };
    let binary = "/usr/bin/nettune";
    [
        ("nettune-early.service", unit(units::early(binary, None, &[]))),
        ("nettune.service", unit(units::late(binary, None))),
    ]
}

/// The folders those files are in, the outer before the inner.
pub fn folders() -> [&'static str; 7] {
    ["/etc/nettune", PROFILES, UNITS, WANTS, "/etc/udev", RULES, SYSCTLS]
}

pub fn text(content: &str) -> State {
    File::fresh(content).into()
}

/// A profile may be named by a path: its file's name, in letters that any tool takes.
pub fn stem(profile: &str) -> String {
    let name = profile.rsplit('/').next().unwrap_or(profile);
    let name = name.strip_suffix(".toml").unwrap_or(name);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    match name.trim_start_matches('.') {
        "" => "profile".to_string(),
        name => name.chars().map(plain).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_its_folder() {
        let uplinks = ["pci:0000:00:05.0".to_string()];
        let setup = Setup {
            origin: "a test",
            binary: "/usr/bin/nettune",
            profile: "/root/my profile.toml",
            table: "[tcp]\n",
            uplinks: &uplinks,
            dropin: Some(("zzz-nettune.conf", "a = 1\n")),
        };
        let all = files(&setup);
        for (path, state) in &all {
            let folder = path.rsplit_once('/').unwrap().0;
            assert!(folders().contains(&folder), "{path}");
            assert!(!matches!(state, State::Absent));
        }
        assert_eq!(all[0].0, "/etc/nettune/boot/my_profile.toml");
        let early = all[1].1.text().unwrap();
        assert!(early.contains("--boot early --uplink pci:0000:00:05.0"), "{early}");
    }

    #[test]
    fn names_of_profiles_are_names_of_files() {
        assert_eq!(stem("cilium-max"), "cilium-max");
        assert_eq!(stem("../../etc/x y.toml"), "x_y");
        assert_eq!(stem("..."), "profile");
        assert_eq!(stem("a%i$b"), "a_i_b");
    }
}
