//! What takes a run back when nobody confirms it: outside the command, its session and its terminal.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::engine::confirm::Process;
use crate::open;

/// linux/nsfs.h: PID_NS_INIT_INO, the number of the first pid namespace on every kernel.
const FIRST_PID_NS: &str = "pid:[4026531836]";
/// Words in a process's cgroup that tell a container, whatever runs it.
const CONTAINERS: [&str; 7] =
    ["kubepods", "docker", "libpod", "containerd", "crio", "buildah", "lxc.payload"];
const MOST_TEXT: u64 = 1 << 20;
const MOST_BINARY: u64 = 256 << 20;
const READY: &[u8] = b"ready\n";

/// Milliseconds since boot, suspend included.
pub fn boottime() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).context("read CLOCK_BOOTTIME")?;
    Ok(Duration::from(now).as_millis() as u64)
}

pub fn this_process() -> Result<Process> {
    let pid = std::process::id();
    let start = start_of(pid).context("read /proc/self/stat")?;
    Ok(Process { pid, start })
}

fn text(path: &str) -> Option<String> {
    let bytes = open::bytes(Path::new(path), MOST_TEXT).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Field 22 of its stat; the name before it may hold anything, so fields count from its last bracket.
fn start_of(pid: u32) -> Option<u64> {
    let stat = text(&format!("/proc/{pid}/stat"))?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

pub fn runs(process: &Process) -> bool {
    start_of(process.pid) == Some(process.start)
}

/// Ends a nettune that hangs; one that has taken its number meanwhile is left alone.
pub fn end(process: &Process) {
    if runs(process)
        && let Ok(pid) = i32::try_from(process.pid)
    {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// In which container this process is, if it is in one: what it starts there may die with it.
pub fn container() -> Option<String> {
    let own = std::fs::read_link("/proc/self/ns/pid").ok();
    if own.is_some_and(|ns| ns.as_os_str() != FIRST_PID_NS) {
        return Some("its pid namespace is not the node's".into());
    }
    let cgroup = text("/proc/self/cgroup").unwrap_or_default();
    CONTAINERS.iter().find(|w| cgroup.contains(*w)).map(|w| format!("its cgroup is of {w}"))
}

/// The path of this binary, if the file that is there is the one that runs.
pub fn binary() -> Option<PathBuf> {
    let path = std::fs::read_link("/proc/self/exe").ok()?;
    let (here, own) = (std::fs::metadata(&path).ok()?, std::fs::metadata("/proc/self/exe").ok()?);
    (here.ino() == own.ino() && here.dev() == own.dev()).then_some(path)
}

/// The same binary where the node has it, as a path on the node.
pub fn binary_on(host: &Path) -> Option<PathBuf> {
    let own = open::bytes(Path::new("/proc/self/exe"), MOST_BINARY).ok()?;
    let places = ["usr/local/bin/nettune", "usr/bin/nettune", "opt/bin/nettune"];
    let same =
        |place: &&&str| open::bytes(&host.join(place), MOST_BINARY).is_ok_and(|bytes| bytes == own);
    places.iter().find(same).map(|place| Path::new("/").join(place))
}

/// Starts this binary again, in a session of its own and tied to nothing of ours: from the running
/// file itself, so that it does not matter what its path holds by then.
pub fn start(args: &[String]) -> Result<Process> {
    let what = "start the watchdog";
    let mut child = Command::new("/proc/self/exe")
        .arg0("nettune")
        .args(args)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context(what)?;
    let mut said = vec![0; READY.len()];
    // It says so once it has left our session; an end of file says that it has died.
    let heard = child.stdout.as_mut().map(|out| out.read_exact(&mut said));
    ensure!(matches!(heard, Some(Ok(()))) && said == READY, "{what}: it ended before it was ready");
    let pid = child.id();
    let start = start_of(pid).context("read the watchdog's start time")?;
    Ok(Process { pid, start })
}

/// In the started process: away from the session of whoever started it, then says that it is ready.
pub fn detach() -> Result<()> {
    match nix::unistd::setsid() {
        Ok(_) => {}
        // Already a leader: systemd started it.
        Err(nix::errno::Errno::EPERM) => {}
        Err(e) => bail!("leave the session: {e}"),
    }
    use std::io::Write;
    let mut out = std::io::stdout();
    out.write_all(READY).and_then(|()| out.flush()).context("say that the watchdog is ready")
}
