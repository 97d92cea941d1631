use super::*;

#[test]
fn the_last_line_that_fits_and_an_exact_one_before_all() {
    let lines = "\
# comment
/.*	system_u:object_r:default_t:s0
/etc(/.*)?	system_u:object_r:etc_t:s0
/etc/udev/rules\\.d(/.*)?	system_u:object_r:udev_rules_t:s0
/usr/(.*/)?bin(/.*)?	system_u:object_r:bin_t:s0
/usr/lib/systemd/system(/.*)?	--	system_u:object_r:systemd_unit_file_t:s0
/etc/exact	system_u:object_r:exact_t:s0
/etc/sysctl\\.d(/.*)?	-d	system_u:object_r:folder_t:s0
/run/.*	<<none>>
";
    let contexts = Contexts {
        specs: lines.lines().filter_map(spec).collect(),
        aliases: vec![("/etc/systemd/system".into(), "/usr/lib/systemd/system".into())],
    };
    let label = |path: &str, kind| {
        contexts.label(path, kind).map(|l| l.split(':').nth(2).unwrap_or("").to_string())
    };
    assert_eq!(
        label("/etc/udev/rules.d/90-nettune.rules", Kind::File).as_deref(),
        Some("udev_rules_t")
    );
    assert_eq!(label("/usr/bin/nettune", Kind::File).as_deref(), Some("bin_t"));
    assert_eq!(
        label("/etc/systemd/system/a.service", Kind::File).as_deref(),
        Some("systemd_unit_file_t")
    );
    assert_eq!(label("/etc/systemd/systemx", Kind::File).as_deref(), Some("etc_t"));
    assert_eq!(label("/etc/exact", Kind::File).as_deref(), Some("exact_t"));
    assert_eq!(label("/etc/sysctl.d/x", Kind::File).as_deref(), Some("etc_t"));
    assert_eq!(label("/run/x", Kind::File), None);
}

#[test]
fn a_pattern_that_cannot_be_read_makes_up_no_label() {
    let specs =
        ["/etc(/.*)?\tsystem_u:object_r:etc_t:s0", "/etc/(?!x).*\tsystem_u:object_r:y_t:s0"];
    let contexts =
        Contexts { specs: specs.iter().filter_map(|l| spec(l)).collect(), aliases: Vec::new() };
    assert_eq!(contexts.label("/etc/a", Kind::File), None);
    assert!(contexts.label("/etc", Kind::Folder).is_some());
}
