use super::super::text::lines;
use super::*;

fn of(text: &str) -> Fit {
    let link = Link {
        name: "ens1f0".into(),
        driver: Some("ice".into()),
        bus: Some("pci/0000:81:00.0".into()),
        mac: Some("02:00:00:00:00:0a".into()),
        permanent_mac: Some("02:00:00:00:00:0b".into()),
        ..Link::default()
    };
    Match::of(&lines("f", &format!("[Match]\n{text}\n[Link]\nName=x\n"))).fit(&link)
}

#[test]
fn keys_of_a_match() {
    for text in [
        "Name=ens?f0",
        "Name=eth0\nName=ens*",
        "Name=eth0\nName=\nName=\"ens1f0\"",
        "Name=!eth*",
        "Driver=i40e ice",
        "Kind=!vlan bond",
        "Type=ether",
        "MACAddress=AA-BB-CC-DD-EE-FF 0200.0000.000A",
        "PermanentMACAddress=02-00-00-00-00-0B",
        "Path=pci-0000:81:*",
    ] {
        assert_eq!(of(text), Fit::Yes, "{text}");
    }
    for text in [
        "",
        "Name=",
        "Name=!ens*",
        "Name=ens1f0\nDriver=!ice",
        "Kind=bond",
        "Type=!ether",
        "PermanentMACAddress=02:00:00:00:00:0a",
        "Path=pci-0000:02:00.0",
        "Name=eth0\nHost=me",
    ] {
        assert_eq!(of(text), Fit::No, "{text}");
    }
    for text in ["Host=me", "Name=ens*\nProperty=ID_MODEL=x", "KernelCommandLine=!x"] {
        assert_eq!(of(text), Fit::Maybe, "{text}");
    }
}
