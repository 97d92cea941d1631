use super::*;
use crate::model::{Impact, Resource};

fn setting(resource: &str, key: Option<&str>, value: Option<&str>) -> Setting {
    Setting {
        agent: "systemd-sysctl".into(),
        file: "/etc/sysctl.d/90.conf".into(),
        line: 3,
        resource: resource.into(),
        key: key.map(str::to_string),
        value: value.map(str::to_string),
    }
}

fn of(want: Want, settings: &[Setting]) -> Vec<String> {
    let resource: Resource = "sysctl:net.core.somaxconn".parse().unwrap();
    let wish = [Desired::new(resource, want, Impact::None)];
    conflicts(&wish, settings.iter()).into_iter().map(|c| c.text).collect()
}

#[test]
fn only_what_is_not_wished_is_a_conflict() {
    let low = [setting("sysctl:net.core.somaxconn", None, Some("128"))];
    let at_least = || Want::AtLeast("4096".into());
    assert_eq!(
        of(at_least(), &low),
        ["systemd-sysctl sets sysctl:net.core.somaxconn to 128 at boot and whenever it is \
          restarted (/etc/sysctl.d/90.conf:3)"]
    );
    let high = [setting("sysctl:net.core.somaxconn", None, Some("8192"))];
    assert!(of(at_least(), &high).is_empty());
    let floor = [setting("sysctl:net.core.somaxconn", None, Some(">2048"))];
    assert!(of(at_least(), &floor).is_empty());
    assert_eq!(of(Want::is("1024"), &floor).len(), 1);
    assert!(of(Want::is("4096"), &floor).is_empty());
    let most = [setting("sysctl:net.core.somaxconn", None, Some("<2048"))];
    assert_eq!((of(at_least(), &most).len(), of(Want::AtMost("64".into()), &most).len()), (1, 0));
    let quoted = [setting("sysctl:net.core.somaxconn", None, Some(">1 2"))];
    assert!(of(Want::is("1"), &quoted).is_empty());
    let any = [setting("sysctl:net.core.*", None, None)];
    assert_eq!(of(at_least(), &any).len(), 1);
    assert!(of(at_least(), &[setting("sysctl:net.core.rmem_max", None, None)]).is_empty());
}

#[test]
fn a_named_key_is_left_out_of_a_pattern() {
    let pattern = || setting("sysctl:net.core.*", None, Some("128"));
    let named = setting("sysctl:net.core.somaxconn", None, Some("4096"));
    assert!(of(Want::is("4096"), &[pattern(), named]).is_empty());
    assert_eq!(of(Want::is("4096"), &[pattern()]).len(), 1);
}

#[test]
fn a_flush_takes_away() {
    let flush = Setting {
        agent: "nftables.service".into(),
        file: "/etc/nftables.conf".into(),
        line: 2,
        resource: "nft:nettune-*".into(),
        ..Setting::default()
    };
    let resource: Resource = "nft:nettune-notrack".parse().unwrap();
    let wish = [Desired::new(resource, Want::is("x"), Impact::None)];
    let told = conflicts(&wish, [flush].iter());
    assert_eq!(
        told[0].text,
        "nftables.service takes away nft:nettune-notrack when it starts or reloads \
         (/etc/nftables.conf:2)"
    );
}

#[test]
fn keys_of_a_group_are_told_apart() {
    let resource: Resource = "ethtool:eth0/rings".parse().unwrap();
    let want = Want::field("rx", Want::AtLeast("4096".into()));
    let wish = [Desired::new(resource, want, Impact::None)];
    let one = |key| [setting("ethtool:eth0/rings", Some(key), Some("512"))];
    assert_eq!(conflicts(&wish, one("rx").iter()).len(), 1);
    assert_eq!(conflicts(&wish, one("tx").iter()).len(), 0);
}
