//! Every parser of what others wrote, under changed input: no panic, no hang, no growth without
//! bound, and what can cheaply be held against it. docs/testing.md tells how to run more.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test tells its figures")]

mod config;
mod files;
mod kernel;
mod mutate;
mod node;
mod own;
mod seeds;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mutate::{Rng, mutate};
use nix::time::{ClockId, clock_gettime};

/// Set in a test that runs as a process of its own.
const APART: &str = "FUZZ_APART";
const RUNS: u64 = 3_000;
/// Where FUZZ_RUNS does not ask for more, no target takes longer: the numbers it gets to are the same
/// everywhere, how many of them is not.
const SHARE: Duration = Duration::from_millis(400);
/// Of one input, in the processor's time: the machine may be busy.
const MOST_TIME: Duration = Duration::from_secs(1);
const HANGS: Duration = Duration::from_secs(120);
const MOST_MEMORY_KIB: u64 = 2 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    /// With lengths and offsets.
    Binary,
    /// The same, and what reads it goes on to system calls that nobody here wants made.
    Object,
}

pub struct Target {
    pub name: &'static str,
    pub form: Form,
    pub seeds: fn() -> Vec<Vec<u8>>,
    pub run: fn(&[u8]),
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// The most that this process ever held; in kB.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    peak.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// Ends the process when one run never ends, for nothing else can.
fn watch(name: &'static str, seed: u64, at: &Arc<AtomicU64>) {
    let at = Arc::downgrade(at);
    std::thread::spawn(move || {
        let (mut last, mut since) = (u64::MAX, Instant::now());
        while let Some(at) = at.upgrade() {
            let now = at.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > HANGS {
                eprintln!("{name}: hangs with FUZZ_SEED={} FUZZ_RUNS=1", seed.wrapping_add(now));
                std::process::abort();
            }
            drop(at);
            std::thread::sleep(Duration::from_millis(200));
        }
    });
}

/// The same test in a user namespace, where nothing that the kernel asks a right for is granted.
fn apart(name: &str) {
    let open = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    let whole = std::env::current_exe().unwrap();
    let test = format!("fuzz::targets::each::{name}");
    // aya's loader reads the kernel's types anew each time, for nothing here.
    let shell = "mount -t tmpfs none /sys/kernel && exec \"$@\"";
    let unshare = |command: &std::path::Path| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["-Urm", "sh", "-ec", shell, "sh"]).arg(command).env(APART, "1");
        unshare
    };
    let can = unshare("true".as_ref()).status().is_ok_and(|status| status.success());
    if !can || open.is_ok_and(|text| text.trim() == "0") {
        assert!(std::env::var_os("NETTUNE_TEST_ALL").is_none(), "{name} was skipped");
        return println!("skipped: no user namespace without the right to bpf()");
    }
    let ended = unshare(&whole).args(["--exact", &test, "--nocapture"]).output().unwrap();
    print!("{}", String::from_utf8_lossy(&ended.stdout));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// Runs a target; each run is made of its own number alone, so that it can be had again by it.
fn fuzz(name: &'static str) {
    let target = targets::TARGETS.iter().find(|t| t.name == name).unwrap();
    if target.form == Form::Object && std::env::var_os(APART).is_none() {
        return apart(name);
    }
    let (seeds, runs, seed) = ((target.seeds)(), number("FUZZ_RUNS", RUNS), number("FUZZ_SEED", 0));
    for seed in &seeds {
        (target.run)(seed);
    }
    let at = Arc::new(AtomicU64::new(0));
    watch(name, seed, &at);
    let begin = Instant::now();
    let mut slowest = Duration::ZERO;
    let (asked, mut done) = (std::env::var_os("FUZZ_RUNS").is_some(), 0);
    let share = processor_time() + SHARE;
    for run in 0..runs {
        if !asked && processor_time() > share {
            break;
        }
        done = run + 1;
        at.store(run, Ordering::Relaxed);
        let input = mutate(&mut Rng::new(seed.wrapping_add(run)), &seeds, target.form);
        let before = processor_time();
        let ended = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        let took = processor_time().saturating_sub(before);
        slowest = slowest.max(took);
        if ended.is_err() || took > MOST_TIME {
            let shown = input[..input.len().min(2000)].escape_ascii();
            let seed = seed.wrapping_add(run);
            panic!(
                "{name}: {took:?} with FUZZ_SEED={seed} FUZZ_RUNS=1: {} bytes b\"{shown}\"",
                input.len()
            );
        }
    }
    let memory = memory();
    let seconds = begin.elapsed().as_secs_f32();
    println!("fuzz {name} {done} runs {seconds:.1} s, slowest {slowest:?}, {memory} KiB");
    assert!(memory < MOST_MEMORY_KIB, "{name}: {memory} KiB");
}
