//! The units and the udev rule. All are wanted and none is required: a nettune that fails or hangs
//! keeps no node from joining.

/// A unit is given up after so long.
pub const LATE_SECONDS: u32 = 30;

/// Rights that some lever needs: links and queues, echo requests of the MTU's proof, BPF, and names
/// of foreign BPF programs. Files of /proc and /sys are root's own.
const CAPABILITIES: &str = "CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_PERFMON CAP_SYS_ADMIN";

/// As far as the work allows. RestrictSUIDSGID would take openat2 away, by which every file is opened
/// beneath its root; ProtectKernelTunables what is to be set; ProtectKernelModules the list of modules.
const HARDENING: &str = "\
NoNewPrivileges=yes
ProtectSystem=strict
StateDirectory=nettune
StateDirectoryMode=0700
ReadWritePaths=-/etc/tuned
ProtectHome=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service bpf
SystemCallErrorNumber=EPERM
KeyringMode=private
UMask=0077
# Programs and maps count as locked memory before Linux 5.11.
LimitMEMLOCK=infinity
";

fn service(command: &str) -> String {
    format!(
        "[Service]\nType=oneshot\nExecStart={command}\nTimeoutStartSec={LATE_SECONDS}\n\
         CapabilityBoundingSet={CAPABILITIES}\n{HARDENING}"
    )
}

/// One word of a command line of a unit: quoted, and with nothing that systemd would expand.
fn word(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' | '$' => out.extend([c, c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32 & 0xff)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn plain(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if !text.is_empty() && text.chars().all(safe) { text.to_string() } else { word(text) }
}

/// Without a profile it is the node's own, of /etc/nettune/nettune.toml.
fn command(binary: &str, profile: Option<&str>, wait: u32, rest: &str) -> String {
    let profile = profile.map(|p| format!(" -p {}", plain(p))).unwrap_or_default();
    format!("{} --wait {wait} apply{profile} --boot {rest}", plain(binary))
}

/// After udev has begun to find devices, before anything brings links up.
pub fn early(binary: &str, profile: Option<&str>, uplinks: &[String]) -> String {
    let links: String = uplinks.iter().map(|l| format!(" --uplink {}", plain(l))).collect();
    let command = command(binary, profile, 20, &format!("early{links}"));
    format!(
        "[Unit]\n\
         Description=Network tuning by nettune, before the network\n\
         DefaultDependencies=no\n\
         RequiresMountsFor={binary}\n\
         After=systemd-udevd.service systemd-udev-trigger.service systemd-sysctl.service\n\
         After=systemd-modules-load.service sys-kernel-debug.mount\n\
         Wants=network-pre.target\n\
         Before=network-pre.target shutdown.target\n\
         Conflicts=shutdown.target\n\n\
         {}RemainAfterExit=yes\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        service(&command),
        binary = plain(binary),
    )
}

/// After the network is there, before what starts pods.
pub fn late(binary: &str, profile: Option<&str>) -> String {
    let command = command(binary, profile, 20, "late");
    format!(
        "[Unit]\n\
         Description=Network tuning by nettune\n\
         RequiresMountsFor={binary}\n\
         Wants=network-online.target\n\
         After=network-online.target nettune-early.service dbus.service tuned.service irqbalance.service\n\
         Before=kubelet.service containerd.service crio.service docker.service cri-docker.service\n\
         Before=k3s.service k3s-agent.service rke2-server.service rke2-agent.service\n\n\
         {}RemainAfterExit=yes\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        service(&command),
        binary = plain(binary),
    )
}

/// For a link that came later, by the udev rule. At boot it waits for the two above.
pub fn link(binary: &str, profile: Option<&str>) -> String {
    let command = command(binary, profile, 30, "link --link %i");
    format!(
        "[Unit]\n\
         Description=Network tuning by nettune, link %i\n\
         RequiresMountsFor={binary}\n\
         After=nettune-early.service nettune.service\n\n\
         {}",
        service(&command),
        binary = plain(binary),
    )
}

/// Links with a device behind them, and not the functions that a card hands out to guests and pods.
/// A link that udev renames comes a second time, by its new name.
pub const RULE: &str = "\
ACTION!=\"add|move\", GOTO=\"nettune_end\"
SUBSYSTEM!=\"net\", GOTO=\"nettune_end\"
DEVPATH==\"/devices/virtual/*\", GOTO=\"nettune_end\"
TEST==\"device/physfn\", GOTO=\"nettune_end\"
TAG+=\"systemd\", ENV{SYSTEMD_WANTS}+=\"nettune-link@$name.service\"
LABEL=\"nettune_end\"
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_would_expand_stays_as_it_is() {
        assert_eq!(plain("/usr/bin/nettune"), "/usr/bin/nettune");
        assert_eq!(plain("/a b/%n$HOME\"\\"), "\"/a b/%%n$$HOME\\\"\\\\\"");
    }

    #[test]
    fn nobody_requires_a_unit_and_each_is_bounded() {
        for unit in [
            early("/usr/bin/nettune", Some("/p.toml"), &[]),
            late("/usr/bin/nettune", None),
            link("/usr/bin/nettune", Some("/p.toml")),
        ] {
            assert!(!unit.contains("RequiredBy") && !unit.contains("Requires="), "{unit}");
            assert!(unit.contains("TimeoutStartSec=30\n"), "{unit}");
            assert!(!unit.contains("ExecStop"), "{unit}");
        }
    }
}
