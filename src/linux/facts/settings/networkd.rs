//! systemd's .link files (udev applies the first that matches) and .network files (networkd).

use crate::linux::root::Root;
use crate::model::facts::Link;
use crate::model::settings::Setting;
use crate::model::uplinks::glob;

const FOLDERS: [&str; 5] = [
    "etc/systemd/network",
    "run/systemd/network",
    "usr/local/lib/systemd/network",
    "usr/lib/systemd/network",
    "lib/systemd/network",
];

/// Key of [Link], then resource kind and key of ours. On and off for features.
const KEYS: [(&str, &str, Option<&str>); 25] = [
    ("MTUBytes", "mtu", None),
    ("RxBufferSize", "rings", Some("rx")),
    ("TxBufferSize", "rings", Some("tx")),
    ("RxMiniBufferSize", "rings", Some("rx-mini")),
    ("RxJumboBufferSize", "rings", Some("rx-jumbo")),
    ("RxChannels", "channels", Some("rx")),
    ("TxChannels", "channels", Some("tx")),
    ("OtherChannels", "channels", Some("other")),
    ("CombinedChannels", "channels", Some("combined")),
    ("UseAdaptiveRxCoalesce", "coalesce", Some("adaptive-rx")),
    ("UseAdaptiveTxCoalesce", "coalesce", Some("adaptive-tx")),
    ("RxCoalesceSec", "coalesce", Some("rx-usecs")),
    ("TxCoalesceSec", "coalesce", Some("tx-usecs")),
    ("RxMaxCoalescedFrames", "coalesce", Some("rx-frames")),
    ("TxMaxCoalescedFrames", "coalesce", Some("tx-frames")),
    ("GenericReceiveOffload", "features", Some("rx-gro")),
    ("GenericReceiveOffloadHardware", "features", Some("rx-gro-hw")),
    ("LargeReceiveOffload", "features", Some("rx-lro")),
    ("TCPSegmentationOffload", "features", Some("tx-tcp-segmentation")),
    ("TCP6SegmentationOffload", "features", Some("tx-tcp6-segmentation")),
    ("GenericSegmentationOffload", "features", Some("tx-generic-segmentation")),
    ("ReceiveChecksumOffload", "features", Some("rx-checksum")),
    ("NTupleFilter", "features", Some("rx-ntuple-filter")),
    ("ReceivePacketSteeringCPUMask", "rps", None),
    ("GenericSegmentOffloadMaxBytes", "sizes", Some("gso")),
];

/// A line of such a file: number, section, key, value.
type Line = (u32, String, String, String);

pub fn gather(root: &Root, links: &[Link]) -> Vec<Setting> {
    let mut all = Vec::new();
    // (file, its pairs), so that each is read once however many links there are.
    let read = |ending: &str| -> Vec<(String, Vec<Line>)> {
        let texts = root.texts(super::files(root, &FOLDERS, ending));
        texts.into_iter().map(|(file, text)| (file, super::pairs(&text))).collect()
    };
    let (link_files, network_files) = (read(".link"), read(".network"));
    for link in links.iter().filter(|l| l.bus.is_some()) {
        if let Some((file, pairs)) = link_files.iter().find(|(_, pairs)| matches(pairs, link)) {
            all.extend(settings(file, pairs, link, "systemd-udevd"));
        }
        if let Some((file, pairs)) = network_files.iter().find(|(_, pairs)| matches(pairs, link)) {
            all.extend(settings(file, pairs, link, "systemd-networkd"));
        }
    }
    all
}

/// Every line of [Match] must fit; one that nettune does not know is taken as fitting, since a
/// conflict too many is read and one too few is not.
fn matches(pairs: &[(u32, String, String, String)], link: &Link) -> bool {
    let mut lines = pairs.iter().filter(|(_, section, _, _)| section == "Match").peekable();
    lines.peek().is_some()
        && lines.all(|(_, _, key, value)| {
            let any = |of: &str| value.split_whitespace().any(|pattern| glob(pattern, of));
            let mac = |mac: &Option<String>| {
                mac.as_ref()
                    .is_some_and(|mac| value.to_lowercase().split_whitespace().any(|v| v == mac))
            };
            match key.as_str() {
                "OriginalName" | "Name" => any(&link.name),
                "Driver" => link.driver.as_deref().is_some_and(any),
                "PermanentMACAddress" => mac(&link.permanent_mac),
                "MACAddress" => mac(&link.mac) || mac(&link.permanent_mac),
                _ => true,
            }
        })
}

fn settings<'a>(
    file: &'a str,
    pairs: &'a [(u32, String, String, String)],
    link: &'a Link,
    agent: &'a str,
) -> impl Iterator<Item = Setting> + 'a {
    pairs.iter().filter_map(move |(line, section, key, value)| {
        let setting = |resource: String, key: Option<&str>, value: Option<String>| Setting {
            agent: agent.to_string(),
            file: format!("/{file}"),
            line: *line,
            resource,
            key: key.map(str::to_string),
            value,
        };
        let name = &link.name;
        // [FairQueueing], [CAKE] and the like set the root qdisc by Parent=root.
        if key == "Parent" && value == "root" {
            return Some(setting(format!("qdisc:{name}"), None, None));
        }
        let (_, kind, ours) = KEYS.iter().find(|(k, _, _)| k == key && section == "Link")?;
        Some(match *kind {
            "mtu" | "sizes" => setting(format!("{kind}:{name}"), *ours, Some(value.clone())),
            "rps" => setting(format!("sysfs:class/net/{name}/queues/rx-*/rps_cpus"), None, None),
            "features" => {
                let on = matches!(value.as_str(), "yes" | "true" | "1" | "on");
                let word = if on { "on" } else { "off" };
                setting(format!("ethtool:{name}/features"), *ours, Some(word.to_string()))
            }
            // Written with a unit, "50us" or "max": told without a value.
            _ => {
                let number = value.parse::<u32>().is_ok();
                setting(format!("ethtool:{name}/{kind}"), *ours, number.then(|| value.clone()))
            }
        })
    })
}
