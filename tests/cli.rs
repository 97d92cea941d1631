//! What a user may give by mistake or on purpose: an answer and an exit code that says whose fault it
//! is, never a panic and never a wait.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::any::TypeId;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::CommandFactory;
use nettune::cli::Cli;
use nettune::engine::evaluate::evaluate;
use nettune::engine::row::{Cni, Selection};
use nettune::model::Facts;
use nettune::profile::{Finder, Profile};
use nettune::tweaks::TWEAKS;
use nix::sys::stat::Mode;

/// No lever is at fault for a slow machine; a wait for a FIFO has no end.
const PATIENCE: Duration = Duration::from_secs(60);

struct Said {
    code: i32,
    out: String,
    err: String,
}

/// On a host of its own, with nothing applied: there is nothing that any verb could write.
fn nettune(dir: &Path, args: &[&str]) -> Said {
    let host = dir.join("host");
    fs::create_dir_all(host.join("proc")).unwrap();
    let (out, err) = (dir.join("out"), dir.join("err"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_nettune"))
        .arg(format!("--host={}", host.display()))
        .arg(format!("--state-dir={}", dir.join("state").display()))
        .arg(format!("--run-dir={}", dir.join("run").display()))
        .args(args)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("{args:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let read = |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    let (out, err) = (read(out), read(err));
    assert_eq!(status.signal(), None, "{args:?}: {err}");
    Said { code: status.code().unwrap(), out, err }
}

/// Every option that takes a number, with the verb it belongs to; none for what all verbs take.
fn numeric(command: &clap::Command, path: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let kinds = [
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<i32>(),
        TypeId::of::<i64>(),
        TypeId::of::<f64>(),
    ];
    for arg in command.get_arguments() {
        let kind = arg.get_value_parser().type_id();
        if kinds.iter().any(|k| kind == *k) {
            let name = arg.get_long().unwrap_or_else(|| panic!("{} has no name", arg.get_id()));
            found.push((path.to_vec(), format!("--{name}")));
        }
    }
    for below in command.get_subcommands() {
        let path = [path, &[below.get_name().to_string()]].concat();
        numeric(below, &path, found);
    }
}

#[test]
fn every_number_of_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    host(dir.path());
    let mut options = Vec::new();
    numeric(&Cli::command(), &[], &mut options);
    let has = |name: &str| options.iter().filter(|(_, option)| option == name).count();
    assert_eq!((has("--wait"), has("--confirm")), (1, 2), "{options:?}");
    let wrong = [
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775807",
        "4294967296",
        "4294967295",
        "86401",
        "-1",
        "-9223372036854775808",
        "1e9",
        "1.5",
        "0x10",
        "x",
        "",
    ];
    for (path, option) in &options {
        let verbs: Vec<Vec<&str>> = match path.is_empty() {
            // Those that take the lock, those that read, and one that has nothing to do with it.
            true => ["rollback", "confirm", "status", "verify", "man"].map(|v| vec![v]).into(),
            false => vec![path.iter().map(String::as_str).collect()],
        };
        for verb in verbs {
            let said = |value: &str| {
                let option = format!("{option}={value}");
                nettune(dir.path(), &[verb.as_slice(), &[option.as_str()]].concat())
            };
            for value in wrong {
                let said = said(value);
                assert_eq!(said.code, 2, "{verb:?} {option} {value}: {}", said.err);
                let names = |l: &str| l.contains(value) && l.contains(option.as_str());
                assert!(said.err.lines().any(names), "{verb:?} {option} {value}: {}", said.err);
            }
            let large = said("18446744073709551615").err;
            assert!(large.lines().next().unwrap().ends_with(" to 86400"), "{large}");
            for value in ["0", "1", "86400"] {
                let said = said(value);
                let fine = [0, 2, 3, 77].contains(&said.code);
                assert!(fine, "{verb:?} {option} {value}: {} {}", said.code, said.err);
            }
        }
    }
}

const NUMBERS: [&str; 22] = [
    "0",
    "1",
    "-1",
    "67",
    "68",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "1e19",
    "1e400",
    "nan",
    "-inf",
    "0.1",
];

/// Each is taken or refused in words, and what is taken computes on every node that a case is of.
#[test]
fn every_number_of_a_profile() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let facts = |name: &str| -> Vec<Facts> {
        let folders = fs::read_dir(&cases).unwrap().flatten();
        let names = folders.map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|n| n.starts_with(name)).map(|n| support::case_facts(&n)).collect()
    };
    let finder = Finder { folders: Vec::new(), strict: false };
    let mut taken = 0;
    for entry in TWEAKS {
        let schema = serde_json::to_value((entry.lever.settings)()).unwrap();
        let all = facts(entry.name);
        assert!(!all.is_empty() || entry.name == "hubble", "{} has no case", entry.name);
        for (key, about) in schema["properties"].as_object().into_iter().flatten() {
            let about = about.to_string();
            // A key may take a number by a definition of its own.
            if !["integer", "number", "$ref", "anyOf"].iter().any(|kind| about.contains(kind)) {
                continue;
            }
            for number in NUMBERS {
                let set = format!("{}.{key}={number}", entry.name);
                let profile = Profile::load(&finder, "cilium-max", std::slice::from_ref(&set))
                    .and_then(|p| p.tweaks().map(|tweaks| (tweaks, p.links())));
                let (tweaks, links) = match profile {
                    Ok(taken) => taken,
                    Err(e) => {
                        let refusal = e.downcast_ref::<nettune::engine::Refusal>();
                        assert_eq!(refusal.map(|r| r.exit as u8), Some(78), "{set}: {e:#}");
                        assert!(!format!("{e:#}").contains('\n'), "{set}: {e:#}");
                        continue;
                    }
                };
                taken += 1;
                let (tweaks, cni) = (&tweaks, Cni::Auto);
                let chosen = Selection {
                    tweaks: tweaks.iter().collect(),
                    links: &links,
                    pod_links: &[],
                    cni,
                };
                for facts in &all {
                    evaluate(&chosen, facts, None);
                }
            }
        }
    }
    assert!(taken > 40, "{taken}");
}

/// The same from a file, of which the number is not TOML even.
#[test]
fn a_number_that_no_profile_can_hold_is_78() {
    let dir = tempfile::tempdir().unwrap();
    for set in ["mtu.mtu=1e19", "mtu.mtu=99999999999999999999", "steering.busy-poll-us=-1"] {
        let said = nettune(dir.path(), &["show", "cilium-max", "--set", set]);
        assert_eq!(said.code, 78, "{set}: {}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    }
}

#[derive(Debug, Clone, Copy)]
enum Odd {
    Fifo,
    LinkToFifo,
    Socket,
    Sparse,
    Folder,
    NoText,
}

const ODD: [Odd; 6] =
    [Odd::Fifo, Odd::LinkToFifo, Odd::Socket, Odd::Sparse, Odd::Folder, Odd::NoText];

impl Odd {
    fn put(self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match self {
            Odd::Fifo => nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap(),
            Odd::LinkToFifo => {
                let target = PathBuf::from(format!("{}.target", path.display()));
                nix::unistd::mkfifo(&target, Mode::S_IRWXU).unwrap();
                symlink(target.file_name().unwrap(), path).unwrap();
            }
            // Bound by a short path, moved to a long one.
            Odd::Socket => {
                let short = tempfile::tempdir().unwrap();
                UnixListener::bind(short.path().join("s")).unwrap();
                fs::rename(short.path().join("s"), path).unwrap();
            }
            Odd::Sparse => fs::File::create(path).unwrap().set_len(8 << 30).unwrap(),
            Odd::Folder => fs::create_dir(path).unwrap(),
            Odd::NoText => fs::write(path, b"\xff\xfe=\0\n").unwrap(),
        }
    }
}

/// Whose absence and whose presence both would be told of the node.
const READ: [&str; 16] = [
    "etc/sysctl.d/50-x.conf",
    "run/sysctl.d/x.conf",
    "usr/lib/sysctl.d/60-y.conf",
    "etc/systemd/network/10-a.network",
    "usr/lib/systemd/network/10-a.link",
    "etc/NetworkManager/system-connections/a.nmconnection",
    "var/lib/kubelet/config.yaml",
    "var/lib/kubelet/kubeadm-flags.env",
    "var/lib/kubelet/cpu_manager_state",
    "etc/cni/net.d/10-aws.conflist",
    "etc/tuned/active_profile",
    "etc/firewalld/firewalld.conf",
    "boot/config-6.12.40",
    "lib/modules/6.12.40/modules.dep",
    "lib/modules/6.12.40/modules.builtin",
    "run/cilium/state/agent-runtime-config.json",
];
/// Of the kernel's own files nobody can make such things, but on a host that is a folder.
const KERNEL: [&str; 6] = [
    "proc/cpuinfo",
    "proc/cmdline",
    "proc/config.gz",
    "proc/filesystems",
    "proc/sys/kernel/hostname",
    "sys/class/dmi/id/product_name",
];

fn host(dir: &Path) -> PathBuf {
    let host = dir.join("host");
    fs::create_dir_all(host.join("proc/sys/kernel/random")).unwrap();
    fs::create_dir_all(host.join("sys")).unwrap();
    fs::write(host.join("proc/sys/kernel/osrelease"), "6.12.40\n").unwrap();
    fs::write(host.join("proc/sys/kernel/random/boot_id"), "x\n").unwrap();
    host
}

#[test]
fn what_is_no_file_on_a_host_is_named_and_never_waited_for() {
    for odd in ODD {
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path());
        READ.iter().chain(&KERNEL).for_each(|path| odd.put(&host.join(path)));
        let said = nettune(dir.path(), &["facts", "--json"]);
        assert_eq!(said.code, 0, "{odd:?}: {}", said.err);
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let unread = json["facts"]["unread"].as_object().unwrap();
        for path in READ {
            // Bytes that are no text are read all the same, and long lists may be longer.
            let read = matches!(odd, Odd::NoText);
            assert_eq!(!unread.contains_key(&format!("/{path}")), read, "{odd:?} {path}");
        }
        let said = nettune(dir.path(), &["check"]);
        assert_eq!(said.code, 0, "{odd:?}: {}", said.err);
        let named = said.err.contains("could not be read, what it says is not known: /boot/config");
        assert_eq!(named, !matches!(odd, Odd::NoText), "{odd:?}: {}", said.err);
        if !matches!(odd, Odd::NoText) {
            // The target of a link beside it may count as well.
            let more = |extra| format!(" and {} more", READ.len() - 4 + extra);
            let told = said.err.contains(&more(0)) || said.err.contains(&more(1));
            assert!(told, "{odd:?}: {}", said.err);
        }
    }
}

#[test]
fn the_nodes_own_choice_of_a_profile_is_read_or_refused() {
    for odd in ODD {
        let dir = tempfile::tempdir().unwrap();
        odd.put(&host(dir.path()).join("etc/nettune/nettune.toml"));
        for verb in [&["check"][..], &["apply"]] {
            let said = nettune(dir.path(), verb);
            assert_eq!(said.code, 78, "{odd:?} {verb:?}: {}", said.err);
            assert!(said.err.contains("etc/nettune/nettune.toml: "), "{odd:?}: {}", said.err);
        }
    }
}

#[test]
fn what_is_no_file_among_what_is_named_is_78() {
    for odd in ODD {
        let dir = tempfile::tempdir().unwrap();
        for path in ["p.toml", "reports/a.json", "config", "bpf.o"] {
            odd.put(&dir.path().join(path));
        }
        let at = |path: &str| dir.path().join(path).display().to_string();
        let (profile, folder, report) = (at("p.toml"), at("reports"), at("reports/a.json"));
        let config = at("config");
        let commands: [&[&str]; 5] = [
            &["check", "-p", &profile],
            &["show", &profile],
            &["cilium", "values", "--cilium", "1.18", &folder],
            &["cilium", "diff", "--cilium", "1.18", "--config", &config, &report],
            &["bake", "--root", "/nonexistent", "-p", &profile],
        ];
        for args in commands {
            let said = nettune(dir.path(), args);
            assert_eq!(said.code, 78, "{odd:?} {args:?}: {}", said.err);
            assert_eq!(said.err.lines().count(), 1, "{odd:?} {args:?}: {}", said.err);
        }
        // A folder is a way to name reports, and this one has none.
        if !matches!(odd, Odd::Folder) {
            let said = nettune(dir.path(), &["cilium", "values", "--cilium", "1.18", &report]);
            assert_eq!(said.code, 78, "{odd:?}: {}", said.err);
        }
    }
}

/// Of a folder that is no root all would be absent, and a check of nothing would go well.
#[test]
fn a_folder_that_is_no_root_is_no_host() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for verb in ["check", "facts", "plan", "verify", "status"] {
        let said = Command::new(env!("CARGO_BIN_EXE_nettune"))
            .args([verb, "--host", empty.to_str().unwrap()])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(2), "{verb}: {text}");
        assert!(text.contains("is no root of a node"), "{verb}: {text}");
    }
}
