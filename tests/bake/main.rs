//! Images as plain folders: what bake writes, that it is the same each time, and that undo leaves nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod refused;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nettune::engine::{Exit, Refusal};
use nettune::image::{self, Ask, Baked};
use nettune::linux::root::Root;
use nettune::profile::{Finder, Profile};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

const CONFIG: &str = "CONFIG_NET_SCH_FQ=m\nCONFIG_TCP_CONG_BBR=m\nCONFIG_PREEMPT_DYNAMIC=y\n\
    CONFIG_PREEMPT_VOLUNTARY=y\nCONFIG_NF_TABLES=m\nCONFIG_NF_TABLES_INET=y\n";
const PROFILE: &str = "[preempt]\nmode = \"none\"\n[tuned]\nprofile = \"network-throughput\"\n\
    [tcp.sysctl]\n\"net.core.somaxconn\" = 5000\n[irq]\nirqbalance = \"stop\"\n\
    [bandwidth-manager]\n[bbr]\n";

fn elf(machine: u8) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..4].copy_from_slice(b"\x7fELF");
    bytes[5] = 1;
    bytes[18] = machine;
    bytes
}

/// A machine image in small: paths and contents; everything is an hour old.
struct Image {
    dir: tempfile::TempDir,
}

impl Image {
    fn new() -> Self {
        let image = Image { dir: tempfile::tempdir().unwrap() };
        image.put("etc/os-release", "ID=test\n");
        fs::create_dir_all(image.path("usr/lib/systemd/system")).unwrap();
        fs::write(image.path("usr/lib/systemd/systemd"), elf(62)).unwrap();
        image.put("usr/lib/systemd/system/irqbalance.service", "");
        image.put("usr/lib/systemd/system/tuned.service", "");
        image.put("usr/lib/tuned/network-throughput/tuned.conf", "");
        image.put("etc/tuned/active_profile", "balanced\n");
        image.put("etc/sysctl.d/99-sysctl.conf", "net.core.default_qdisc = pfifo\n");
        image.put("etc/default/grub", "GRUB_CMDLINE_LINUX=\"quiet\"\n");
        image.put("boot/loader/entries/a.conf", "title A\noptions root=/dev/vda ro\n");
        image.put("etc/kernel/cmdline", "root=/dev/vda\n");
        symlink("usr/lib", image.path("lib")).unwrap();
        fs::create_dir_all(image.path("var/lib")).unwrap();
        fs::create_dir_all(image.path("etc/systemd/system")).unwrap();
        fs::create_dir_all(image.path("usr/bin")).unwrap();
        image.kernel("6.12.0-test", CONFIG);
        image.age();
        image
    }

    fn kernel(&self, release: &str, config: &str) {
        let modules = "kernel/net/sched/sch_fq.ko:\nkernel/net/ipv4/tcp_bbr.ko:\n";
        self.put(&format!("usr/lib/modules/{release}/modules.dep"), modules);
        self.put(&format!("boot/config-{release}"), config);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn root(&self) -> Root {
        Root::open(self.dir.path()).unwrap()
    }

    /// Times that the bake would have to move to be seen.
    fn age(&self) {
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (path, _) in tree(self.dir.path()) {
            let path = self.path(&path);
            if path.is_symlink() {
                let (time, flag) = (TimeSpec::new(1_000_000, 0), UtimensatFlags::NoFollowSymlink);
                utimensat(AT_FDCWD, &path, &time, &time, flag).unwrap();
            } else {
                fs::File::open(path).unwrap().set_modified(old).unwrap();
            }
        }
    }

    fn bake(&self, profile: &str) -> anyhow::Result<Baked> {
        self.bake_as(profile, |ask| ask)
    }

    fn bake_as(&self, text: &str, change: impl FnOnce(Ask) -> Ask) -> anyhow::Result<Baked> {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let path = folder.path().join("p.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let finder = Finder::new(Path::new("/"));
        let mut profile = Profile::load(&finder, path.to_str().unwrap(), &[]).unwrap();
        profile.name = "p".into();
        let ask = Ask {
            profile: &profile,
            version: "0",
            binary: elf(62),
            epoch: Some(2_000_000),
            without_kernel: false,
        };
        image::bake(&self.root(), &change(ask))
    }
}

/// Path -> kind, mode, count of names, time and content.
fn tree(top: &Path) -> BTreeMap<String, String> {
    fn walk(top: &Path, at: &Path, out: &mut BTreeMap<String, String>) {
        let meta = fs::symlink_metadata(at).unwrap();
        let what = if meta.is_symlink() {
            let time = (meta.mtime(), meta.mtime_nsec());
            format!("link {} {time:?}", fs::read_link(at).unwrap().display())
        } else if meta.is_dir() {
            format!("folder {:o} {}.{}", meta.mode(), meta.mtime(), meta.mtime_nsec())
        } else {
            format!(
                "file {:o} {} names {}.{} {:?}",
                meta.mode(),
                meta.nlink(),
                meta.mtime(),
                meta.mtime_nsec(),
                fs::read(at).unwrap()
            )
        };
        let name = at.strip_prefix(top).unwrap().to_str().unwrap().to_string();
        out.insert(name, what);
        if meta.is_dir() {
            for entry in fs::read_dir(at).unwrap() {
                walk(top, &entry.unwrap().path(), out);
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(top, top, &mut out);
    out
}

fn exit(result: anyhow::Result<Baked>) -> (Exit, String) {
    let error = result.err().unwrap();
    let text = format!("{error:#}");
    (error.downcast_ref::<Refusal>().map_or(Exit::Failed, |r| r.exit), text)
}

#[test]
fn what_is_written() {
    let image = Image::new();
    let baked = image.bake(PROFILE).unwrap();
    assert!(baked.findings.is_empty(), "{:?}", baked.findings);
    assert_eq!(baked.manifest.kernels, ["6.12.0-test"]);
    assert_eq!(fs::read(image.path("usr/bin/nettune")).unwrap(), elf(62));
    let profile = image.get("etc/nettune/boot/p.toml");
    assert!(profile.contains("5000") && profile.contains("[bbr]"), "{profile}");
    let unit = image.get("etc/systemd/system/nettune.service");
    assert!(
        unit.contains(
            "ExecStart=/usr/bin/nettune --wait 20 apply -p /etc/nettune/boot/p.toml --boot late"
        ),
        "{unit}"
    );
    let wants = image.path("etc/systemd/system/multi-user.target.wants/nettune.service");
    assert_eq!(fs::read_link(wants).unwrap(), Path::new("../nettune.service"));
    let dropin = image.get("etc/sysctl.d/zzz-nettune.conf");
    assert!(
        dropin.contains("net.core.default_qdisc = fq\nnet.ipv4.tcp_congestion_control = bbr\n"),
        "{dropin}"
    );
    assert!(
        !dropin.contains("somaxconn"),
        "only what must be right before the unit runs: {dropin}"
    );
    assert!(image.get("etc/modules-load.d/nettune.conf").ends_with("\nsch_fq\ntcp_bbr\n"));
    assert_eq!(image.get("etc/tuned/active_profile"), "network-throughput\n");
    assert_eq!(image.get("etc/tuned/profile_mode"), "manual\n");
    assert_eq!(
        fs::read_link(image.path("etc/systemd/system/irqbalance.service")).unwrap(),
        Path::new("/dev/null")
    );
    assert_eq!(image.get("etc/default/grub"), "GRUB_CMDLINE_LINUX=\"quiet preempt=none\"\n");
    assert_eq!(
        image.get("boot/loader/entries/a.conf"),
        "title A\noptions root=/dev/vda ro preempt=none\n"
    );
    assert_eq!(image.get("etc/kernel/cmdline"), "root=/dev/vda preempt=none\n");
    assert_eq!(fs::metadata(image.path("var/lib/nettune")).unwrap().mode() & 0o777, 0o700);
    let checked = image::check(&image.root()).unwrap().unwrap();
    assert!(checked.differ.is_empty() && checked.notes.is_empty(), "{checked:?}");
}

#[test]
fn the_same_image_gives_the_same_bytes_and_undo_leaves_nothing() {
    let (one, two) = (Image::new(), Image::new());
    let before = tree(one.dir.path());
    assert_eq!(before, tree(two.dir.path()));
    one.bake(PROFILE).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    two.bake(PROFILE).unwrap();
    let baked = tree(one.dir.path());
    assert_eq!(baked, tree(two.dir.path()));
    assert_ne!(baked, before);
    // Baked again, with another profile in between: still the same.
    one.bake("[tcp]\n").unwrap();
    assert_ne!(tree(one.dir.path()), baked);
    one.bake(PROFILE).unwrap();
    assert_eq!(tree(one.dir.path()), baked);
    let undone = image::undo(&one.root()).unwrap();
    assert!(undone.left.is_empty(), "{undone:?}");
    assert_eq!(tree(one.dir.path()), before);
    assert!(image::check(&one.root()).unwrap().is_none());
    let error = image::undo(&one.root()).unwrap_err();
    assert_eq!(error.downcast_ref::<Refusal>().unwrap().exit, Exit::Nothing);
}

#[test]
fn debians_grub_gets_a_file_of_its_own() {
    let image = Image::new();
    image.put("etc/default/grub.d/10_cloud.cfg", "GRUB_CMDLINE_LINUX=\"console=ttyS0\"\n");
    image.put("boot/grub/grub.cfg", "linux /vmlinuz quiet\n");
    let baked = image.bake(PROFILE).unwrap();
    assert_eq!(image.get("etc/default/grub"), "GRUB_CMDLINE_LINUX=\"quiet\"\n");
    let own = image.get("etc/default/grub.d/zz-nettune.cfg");
    assert_eq!(own, "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX preempt=none\"\n");
    assert!(baked.notes.iter().any(|n| n.contains("run update-grub")), "{:?}", baked.notes);
}

#[test]
fn a_boot_loader_that_nobody_knows_is_named() {
    let image = Image::new();
    for gone in ["etc/default/grub", "boot/loader/entries/a.conf", "etc/kernel/cmdline"] {
        fs::remove_file(image.path(gone)).unwrap();
    }
    let said = |image: &Image| image.bake(PROFILE).unwrap().notes.join("\n");
    assert!(
        said(&image).contains(
            "no boot loader that is known: whoever starts the image must pass preempt=none"
        )
    );
    image.put("boot/extlinux/extlinux.conf", "");
    image.put("boot/efi/EFI/Linux/a.efi", "");
    let text = said(&image);
    assert!(text.contains("extlinux is not understood: add preempt=none"), "{text}");
    assert!(text.contains("unified kernel image"), "{text}");
    // What somebody has decided is left.
    image.put("etc/kernel/cmdline", "root=/dev/vda preempt=full\n");
    assert!(said(&image).contains("say preempt=full already, which is left"));
    assert_eq!(image.get("etc/kernel/cmdline"), "root=/dev/vda preempt=full\n");
    // Two kernels that cannot agree.
    image.put("etc/default/grub", "GRUB_CMDLINE_LINUX=quiet\n");
    image.kernel("7.1.0-test", &format!("{CONFIG}CONFIG_ARCH_HAS_PREEMPT_LAZY=y\n"));
    let text = image.bake("[preempt]\n").unwrap().notes.join("\n");
    assert!(text.contains("want different preempt= arguments"), "{text}");
}

#[test]
fn every_kernel_of_the_image_is_asked() {
    let image = Image::new();
    image.kernel("5.10.0-old", "CONFIG_NET_SCH_FQ=y\n# CONFIG_TCP_CONG_BBR is not set\n");
    let baked = image.bake(PROFILE).unwrap();
    let found: Vec<String> =
        baked.findings.iter().map(|f| format!("{} {}", f.kernel, f.tweak)).collect();
    assert_eq!(found, ["5.10.0-old preempt", "5.10.0-old bbr"], "{:?}", baked.findings);
    // What one of them has not is not set before the unit can decide.
    let dropin = image.get("etc/sysctl.d/zzz-nettune.conf");
    assert!(dropin.contains("default_qdisc = fq") && !dropin.contains("bbr"), "{dropin}");
    // A kernel that comes or goes later is seen.
    fs::remove_dir_all(image.path("usr/lib/modules/5.10.0-old")).unwrap();
    let checked = image::check(&image.root()).unwrap().unwrap();
    assert!(checked.notes[0].contains("bake again"), "{checked:?}");
    // Without a configuration nobody can tell.
    fs::remove_file(image.path("boot/config-6.12.0-test")).unwrap();
    let baked = image.bake(PROFILE).unwrap();
    assert!(
        baked.findings.iter().any(|f| f.text.contains("configuration")),
        "{:?}",
        baked.findings
    );
}

#[test]
fn on_a_node_of_an_unknown_cni_nothing_is_set_before_the_unit_can_look() {
    let image = Image::new();
    image.put("usr/bin/kubelet", "");
    image.bake(PROFILE).unwrap();
    assert!(!image.path("etc/sysctl.d/zzz-nettune.conf").exists());
    image.put("etc/cni/net.d/05-cilium.conflist", "{}");
    image.bake(PROFILE).unwrap();
    assert!(!image.path("etc/sysctl.d/zzz-nettune.conf").exists());
}

#[test]
fn a_file_with_the_same_key_sorts_before_ours() {
    let image = Image::new();
    image.put("usr/lib/sysctl.d/zzzz-vendor.conf", "net.core.default_qdisc = pfifo\n");
    image.put("etc/sysctl.d/99-zzz-override_cilium.conf", "net.ipv4.conf.lxc*.rp_filter = 0\n");
    image.bake(PROFILE).unwrap();
    assert!(image.path("etc/sysctl.d/zzzz-vendor.conf.zzz-nettune.conf").exists());
}
