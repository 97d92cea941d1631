//! What the inputs are made of: files as they are found in the field, answers recorded of a kernel.

use std::io::Write;

/// Several in one file, a line of dashes between.
pub fn texts(file: &str) -> Vec<Vec<u8>> {
    file.split("----\n").map(|text| text.as_bytes().to_vec()).collect()
}

/// One after another in hexadecimal, an empty line between.
pub fn hex(file: &str) -> Vec<Vec<u8>> {
    let bytes = |part: &str| -> Vec<u8> {
        let digits: String = part.split_whitespace().collect();
        let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(pair).collect()
    };
    file.split("\n\n").map(bytes).filter(|bytes| !bytes.is_empty()).collect()
}

/// A dump as the kernel sends it: all messages in a row, and each alone.
pub fn dump(file: &str) -> Vec<Vec<u8>> {
    let mut all = hex(file);
    all.push(all.concat());
    all
}

/// A table of iptables is two answers, its head and its entries.
pub fn table(file: &str) -> Vec<Vec<u8>> {
    vec![hex(file).concat()]
}

pub fn packed(file: &str) -> Vec<Vec<u8>> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(file.as_bytes()).unwrap();
    vec![gz.finish().unwrap()]
}

/// HTTP's lines end in two characters.
pub fn http(file: &str) -> Vec<Vec<u8>> {
    texts(&file.replace('\n', "\r\n").replace("----\r\n", "----\n"))
}

/// A journal with runs that ended and one that did not, of old records without checksums, and of a
/// snapshot.
pub fn journals() -> Vec<Vec<u8>> {
    use crate::engine::lines::write;
    use crate::engine::record::{Begin, Done, End, OwnedRecord, Record, Snapshot};
    use crate::model::facts::LinkId;
    use crate::model::{Change, Impact, Outcome, Resource, State, Want};
    let resource = Resource::Mtu { link: "eth0".into() };
    let change = Change {
        resource: resource.clone(),
        before: State::is("1500"),
        after: State::is("9000"),
        impact: Impact::ALL[0],
        claims: [("mtu".to_string(), Want::AtLeast("9000".into()))].into(),
        tweaks: vec!["mtu".into()],
    };
    let link = LinkId { name: "eth0".into(), index: 2, mac: None, bus: Some("pci/x".into()) };
    let begin = |run: &str| {
        let (run, boot, time) = (run.to_string(), "b".to_string(), "2026-01-01T00:00:00Z".into());
        let (changes, links) = (vec![change.clone()], vec![link.clone()]);
        let verb = "apply".to_string();
        Record::Begin(Begin { run, verb, boot, netns: 1, time, changes, links, ..Begin::default() })
    };
    let end = |run: &str| {
        let outcomes = vec![Done::new(&resource, Outcome::Written)];
        Record::End(End { run: run.to_string(), outcomes, ..End::default() })
    };
    let owned = OwnedRecord {
        layered: true,
        resource: resource.clone(),
        before: State::is("1500"),
        wrote: vec![State::is("9000"), State::Absent],
        claims: Default::default(),
        cause: None,
        boot: "b".into(),
        netns: 1,
        profile: Some("p".into()),
        time: "t".into(),
    };
    let owned = Record::Owned(Snapshot { owned: vec![owned], ..Snapshot::default() });
    let of = |records: &[Record]| -> Vec<u8> {
        records.iter().flat_map(|r| write(r).unwrap()).collect()
    };
    let all = of(&[begin("1"), end("1"), begin("2"), end("2"), begin("3")]);
    // As before there were checksums.
    let sum = regex_lite::Regex::new(r#","sum":"[0-9a-f]{16}""#).unwrap();
    let old = sum.replace_all(std::str::from_utf8(&all).unwrap(), "").into_owned();
    vec![all, of(&[owned, begin("4"), end("4")]), old.into_bytes()]
}

pub fn objects() -> Vec<Vec<u8>> {
    let all: [&[u8]; 3] = [
        include_bytes!("../../bpf/xdp_pass.bpf.o"),
        include_bytes!("../../bpf/bare_xdp.bpf.o"),
        include_bytes!("../../bpf/host_routing.bpf.o"),
    ];
    all.map(<[u8]>::to_vec).to_vec()
}
