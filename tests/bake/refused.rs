//! What bake refuses, leaves or names: other names, links, foreign files, labels, bad words.

use super::*;

/// A new file under one of several names leaves the others behind: refused before the first write.
#[test]
fn a_file_with_other_names_is_not_replaced() {
    for path in ["etc/default/grub", "etc/tuned/active_profile", "boot/loader/entries/a.conf"] {
        let image = Image::new();
        fs::hard_link(image.path(path), image.path("usr/lib/other")).unwrap();
        image.age();
        let before = tree(image.dir.path());
        let (code, said) = exit(image.bake(PROFILE));
        assert_eq!(code, Exit::Config, "{said}");
        assert!(said.contains(&format!("{path} has 2 names (hard links)")), "{said}");
        assert_eq!(tree(image.dir.path()), before);
        // What it says to do helps, and what bake does not replace may have as many names as it likes.
        fs::copy(image.path(path), image.path("copy")).unwrap();
        fs::rename(image.path("copy"), image.path(path)).unwrap();
        fs::hard_link(image.path("usr/lib/other"), image.path("usr/lib/third")).unwrap();
        image.age();
        let before = tree(image.dir.path());
        image.bake(PROFILE).unwrap();
        assert!(image::undo(&image.root()).unwrap().left.is_empty());
        assert_eq!(tree(image.dir.path()), before);
    }
}

#[test]
fn a_link_with_other_names_is_not_replaced() {
    let image = Image::new();
    let unit = image.path("etc/systemd/system/irqbalance.service");
    symlink("/usr/lib/systemd/system/irqbalance.service", &unit).unwrap();
    fs::hard_link(&unit, image.path("etc/systemd/system/other.service")).unwrap();
    assert!(exit(image.bake(PROFILE)).1.contains("irqbalance.service has 2 names"));
}

/// What lies among an image's files and is none is neither waited for nor opened nor edited.
#[test]
fn what_is_no_file_is_named() {
    let fifo = |path: &Path| {
        let _ = fs::remove_file(path);
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    };
    let image = Image::new();
    fifo(&image.path("etc/sysctl.d/zzzz.conf"));
    fifo(&image.path("etc/kernel/cmdline"));
    fifo(&image.path("boot/fifo"));
    fs::remove_file(image.path("boot/loader/entries/a.conf")).unwrap();
    symlink("/boot/fifo", image.path("boot/loader/entries/a.conf")).unwrap();
    fs::write(image.path("etc/default/grub"), b"# \xe9t\xe9\nGRUB_CMDLINE_LINUX=\"\"\n").unwrap();
    let baked = image.bake(PROFILE).unwrap();
    for (path, why) in [
        ("/etc/sysctl.d/zzzz.conf", "could not be read: is no regular file"),
        ("/etc/kernel/cmdline", "cannot be read (is no regular file): add preempt=none there"),
        ("/boot/loader/entries/a.conf", "cannot be read (is no regular file): add preempt=none"),
        ("/etc/default/grub", "cannot be read (is no UTF-8 text): add preempt=none there yourself"),
    ] {
        let of = |n: &&String| n.starts_with(&format!("{path} "));
        let said: Vec<_> = baked.notes.iter().filter(of).collect();
        assert!(said.len() == 1 && said[0].contains(why), "{path}: {:?}", baked.notes);
    }
    let ours =
        |f: &nettune::image::manifest::Entry| f.path.ends_with("/zzzz.conf.zzz-nettune.conf");
    assert!(baked.manifest.files.iter().any(ours), "{:?}", baked.manifest.files);
    for path in ["etc/os-release", "usr/lib/systemd/systemd", "etc/nettune/baked.json"] {
        let image = Image::new();
        fs::create_dir_all(image.path("etc/nettune")).unwrap();
        fifo(&image.path(path));
        let said = image.bake(PROFILE).err().map(|e| format!("{e:#}"));
        // Of os-release only that it is there is asked.
        assert_eq!(said.is_none(), path == "etc/os-release", "{path}: {said:?}");
    }
}

#[test]
fn what_was_changed_since_is_told_and_left() {
    let image = Image::new();
    let before = tree(image.dir.path());
    image.bake(PROFILE).unwrap();
    image.put("etc/default/grub", "GRUB_CMDLINE_LINUX=\"mine\"\n");
    fs::remove_file(image.path("etc/udev/rules.d/90-nettune.rules")).unwrap();
    let checked = image::check(&image.root()).unwrap().unwrap();
    assert_eq!(
        checked.differ,
        ["/etc/udev/rules.d/90-nettune.rules is gone", "/etc/default/grub was changed"]
    );
    assert_eq!(exit(image.bake(PROFILE)).0, Exit::Config);
    let undone = image::undo(&image.root()).unwrap();
    assert_eq!(undone.left, ["/etc/default/grub"]);
    assert_eq!(image.get("etc/default/grub"), "GRUB_CMDLINE_LINUX=\"mine\"\n");
    // Once it is as baked again, the rest goes as well.
    image.put("etc/default/grub", "GRUB_CMDLINE_LINUX=\"quiet preempt=none\"\n");
    assert!(image::undo(&image.root()).unwrap().left.is_empty());
    assert_eq!(
        tree(image.dir.path()).keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
    assert_eq!(image.get("etc/default/grub"), "GRUB_CMDLINE_LINUX=\"quiet\"\n");
}

#[test]
fn links_do_not_lead_out_of_the_image() {
    for target in ["OUT", "../../../../../../../../OUT"] {
        let image = Image::new();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("system")).unwrap();
        let out = outside.path().to_str().unwrap();
        fs::remove_dir_all(image.path("etc/systemd")).unwrap();
        symlink(target.replace("/OUT", out).replace("OUT", out), image.path("etc/systemd"))
            .unwrap();
        symlink(format!("{out}/kept"), image.path("usr/bin/nettune")).unwrap();
        let before = tree(image.dir.path());
        // The link leads to a place in the image that is not there: an error, and nothing is left.
        let (_, text) = exit(image.bake(PROFILE));
        assert!(text.contains("nettune") || text.contains("taken out again"), "{text}");
        assert_eq!(tree(outside.path()).len(), 2, "{:?}", tree(outside.path()).keys());
        assert_eq!(
            tree(image.dir.path()).keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>()
        );
    }
    // One that leads to another place in the image is followed there.
    let image = Image::new();
    fs::remove_dir_all(image.path("etc/systemd")).unwrap();
    fs::create_dir_all(image.path("usr/etc/systemd/system")).unwrap();
    symlink("/usr/etc/systemd", image.path("etc/systemd")).unwrap();
    let before = tree(image.dir.path());
    image.bake(PROFILE).unwrap();
    assert!(image.path("usr/etc/systemd/system/nettune.service").exists());
    image::undo(&image.root()).unwrap();
    assert_eq!(tree(image.dir.path()), before);
}

#[test]
fn selinux_labels_are_the_images_own() {
    let image = Image::new();
    image.put("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n");
    image.put(
        "etc/selinux/targeted/contexts/files/file_contexts",
        "/.*\tsystem_u:object_r:etc_t:s0\n/usr/bin(/.*)?\t--\tsystem_u:object_r:bin_t:s0\n",
    );
    let baked = image.bake(PROFILE).unwrap();
    let label = |path: &str| {
        let mut value = vec![0; 256];
        let length = rustix::fs::lgetxattr(image.path(path), "security.selinux", &mut value[..]);
        length.ok().map(|n| String::from_utf8_lossy(&value[..n]).trim_end_matches('\0').to_string())
    };
    match label("usr/bin/nettune") {
        Some(label_of) => {
            assert_eq!(label_of, "system_u:object_r:bin_t:s0");
            assert_eq!(
                label("etc/nettune/boot/p.toml").as_deref(),
                Some("system_u:object_r:etc_t:s0")
            );
            assert_eq!(
                label("etc/systemd/system/multi-user.target.wants/nettune.service").as_deref(),
                Some("system_u:object_r:etc_t:s0")
            );
        }
        // An ordinary user may not: then it is said which files are to be labelled.
        None => assert!(
            baked
                .notes
                .iter()
                .any(|n| n.contains("relabel them") && n.contains("/usr/bin/nettune")),
            "{:?}",
            baked.notes
        ),
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let told = |image: &Image, text: &str| {
        let before = tree(image.dir.path());
        let (exit, said) = exit(image.bake(PROFILE));
        assert_eq!(exit, Exit::Config, "{said}");
        assert!(said.contains(text), "{said}");
        assert_eq!(tree(image.dir.path()), before, "{said}");
    };
    let image = Image::new();
    fs::remove_file(image.path("etc/os-release")).unwrap();
    told(&image, "no os-release");
    fs::remove_dir_all(image.path("etc")).unwrap();
    told(&image, "no folder etc");
    let image = Image::new();
    fs::remove_dir_all(image.path("usr/lib/modules")).unwrap();
    told(&image, "has no kernel");
    let baked = image.bake_as(PROFILE, |ask| Ask { without_kernel: true, ..ask }).unwrap();
    assert!(baked.manifest.kernels.is_empty() && baked.findings.is_empty());
    assert_eq!(image.get("etc/tuned/active_profile"), "network-throughput\n");
    assert!(!image.path("etc/sysctl.d/zzz-nettune.conf").exists());
    let image = Image::new();
    fs::write(image.path("usr/lib/systemd/systemd"), elf(183)).unwrap();
    told(&image, "the image is of aarch64 and the binary of x86_64: give it one with --binary");
    let baked = image.bake_as(PROFILE, |ask| Ask { binary: elf(183), ..ask }).unwrap();
    assert_eq!(baked.manifest.arch, "aarch64");
    fs::remove_file(image.path("usr/lib/systemd/systemd")).unwrap();
    image::undo(&image.root()).unwrap();
    told(&image, "has no systemd");
    let image = Image::new();
    image.put("usr/bin/nettune", "another");
    told(&image, "is another nettune");
    let image = Image::new();
    image.put("etc/nettune/baked.json", "{}");
    told(&image, "not a manifest");
    for path in ["etc/passwd", "/../etc/passwd", "/a//b", "/"] {
        let text = format!(
            "{{\"schema\":1,\"version\":\"0\",\"profile\":\"p\",\"time\":null,\"arch\":\"x86_64\",\"kernels\":[],\
             \"files\":[{{\"path\":{path:?},\"mode\":null,\"sha256\":\"\",\"before\":\"absent\"}}],\"folders\":[]}}"
        );
        image.put("etc/nettune/baked.json", &text);
        told(&image, "is no path of an image");
    }
}

fn nettune(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nettune")).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code().unwrap(), text)
}

#[test]
fn the_verb_refuses_the_running_system_and_bad_words() {
    let image = Image::new();
    let here = image.dir.path().to_str().unwrap();
    let slash = format!("{here}/slash");
    symlink("/", &slash).unwrap();
    for root in ["/", "/usr/..", slash.as_str()] {
        let (code, text) = nettune(&["bake", "--root", root, "-p", "cilium-max"]);
        assert_eq!(code, 78, "{text}");
        assert!(text.contains("--image-build"), "{text}");
    }
    fs::remove_file(&slash).unwrap();
    assert_eq!(nettune(&["bake", "--root", "/nonexistent", "-p", "cilium-max"]).0, 78);
    assert_eq!(nettune(&["bake", "--root", here]).0, 2);
    assert_eq!(nettune(&["bake", "--root", here, "--check", "--undo"]).0, 2);
    assert_eq!(nettune(&["bake", "--root", here, "-p", "nosuch"]).0, 78);
    assert_eq!(nettune(&["bake", "--root", here, "--check"]).0, 3);
    assert_eq!(nettune(&["bake", "--root", here, "--undo"]).0, 3);
}

#[test]
fn the_verb_prints_what_the_schema_says() {
    let schema: serde_json::Value = serde_json::from_str(&nettune(&["schema"]).1).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let image = Image::new();
    let binary = image.path("nettune-of-the-image");
    fs::write(&binary, elf(62)).unwrap();
    let binary = binary.to_str().unwrap();
    let here = image.dir.path().to_str().unwrap();
    for (args, code) in [
        (&["-p", "cilium-max", "--binary", binary][..], 0),
        (&["--check"], 0),
        // It has no nf_tables.
        (&["-p", "cilium-max", "--binary", binary, "--strict"], 5),
        (&["--undo"], 0),
        (&["--undo"], 3),
    ] {
        let all = [&["bake", "--json", "--root", here], args].concat();
        let output = Command::new(env!("CARGO_BIN_EXE_nettune")).args(&all).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{args:?}: {errors:?}");
        assert_eq!(output.status.code(), Some(code), "{json}");
    }
}
