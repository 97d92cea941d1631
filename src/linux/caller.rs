//! Who calls: for the journal, so that a run can be asked about later.

use std::path::Path;

use crate::engine::record::By;
use crate::open;

const MOST: u64 = 64 << 10;
/// Of a command line; what is longer is a script's.
const MOST_COMMAND: usize = 400;
/// loginuid of a process that nobody logged in for.
const NOBODY: u32 = u32::MAX;

pub fn by() -> By {
    let text = |path: &str| {
        let bytes = open::bytes(Path::new(path), MOST).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_string())
    };
    let login = text("/proc/self/loginuid").and_then(|uid| uid.parse().ok());
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    By {
        uid: login.filter(|uid| *uid != NOBODY).unwrap_or(nix::unistd::getuid().as_raw()),
        sudo: std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty()),
        unit: text("/proc/self/cgroup").and_then(|groups| unit(&groups)),
        command: words.join(" ").chars().take(MOST_COMMAND).collect(),
        ..By::default()
    }
}

/// The innermost service or scope of systemd's own hierarchy.
fn unit(groups: &str) -> Option<String> {
    let own = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let path = groups.lines().find(own)?.rsplit(':').next()?;
    let unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    path.rsplit('/').find(unit).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_innermost_of_systemd() {
        let of = |text| unit(text);
        assert_eq!(of("0::/system.slice/nettune.service\n").as_deref(), Some("nettune.service"));
        let session = "0::/user.slice/user-1000.slice/session-3.scope";
        assert_eq!(of(session).as_deref(), Some("session-3.scope"));
        let v1 = "12:cpu:/x\n1:name=systemd:/system.slice/ssh.service\n";
        assert_eq!(of(v1).as_deref(), Some("ssh.service"));
        assert_eq!(of("0::/\n"), None);
    }
}
