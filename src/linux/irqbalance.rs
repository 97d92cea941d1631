//! A running irqbalance takes a list of vectors to leave alone over its own socket. That lasts as
//! long as the process, so nothing of it outlives a boot.

use std::cell::Cell;
use std::io::{ErrorKind, IoSlice, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials,
    sendmsg, socket,
};

use super::root::Root;
use crate::model::State;

/// It answers between two scans of the machine, which may take it seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// A restart takes it a second or two.
const RESTART: Duration = Duration::from_secs(8);

/// The one irqbalance of a node, as a run sees it.
#[derive(Default)]
pub struct Irqbalance {
    met: Cell<bool>,
}

impl Irqbalance {
    /// "34 35 36", or empty; absent when no irqbalance with a socket runs.
    pub fn read(&self, root: &Root) -> Result<State> {
        match self.patiently(|| read(root)) {
            Err(e) if away(&e) => Ok(State::Absent),
            state => state,
        }
    }

    pub fn write(&self, root: &Root, state: &State) -> Result<()> {
        self.patiently(|| write(root, state))
    }

    /// One that this run met is being restarted where it is away now: it gets its time, once.
    fn patiently<T>(&self, ask: impl Fn() -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + RESTART;
        loop {
            let done = ask();
            let gone = done.as_ref().is_err_and(away);
            if !gone || !self.met.get() || Instant::now() >= deadline {
                self.met.set(!gone);
                return done;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// It is stopped or started by us: what is away then is not on its way back.
    pub fn switched(&self) {
        self.met.set(false);
    }
}

fn read(root: &Root) -> Result<State> {
    Ok(State::Is(banned(&ask(&there(root)?, "setup")?)))
}

fn write(root: &Root, state: &State) -> Result<()> {
    let path = there(root)?;
    let Some(list) = state.text() else { bail!("irqbalance's bans cannot be made {state}") };
    let list = if list.is_empty() { "NONE" } else { list };
    // It would cut the message, in the middle of a number.
    ensure!(list.len() <= 481, "irqbalance takes no list of {} characters", list.len());
    ask(&path, &format!("settings ban irqs {list}")).map(drop)
}

fn there(root: &Root) -> std::io::Result<String> {
    let gone = || std::io::Error::new(ErrorKind::NotFound, "irqbalance is not running");
    socket_path(root).ok_or_else(gone)
}

/// Nobody behind the socket, or nobody any more.
fn away(e: &anyhow::Error) -> bool {
    let io = e.chain().find_map(|c| c.downcast_ref::<std::io::Error>());
    let errno = e.chain().find_map(|c| c.downcast_ref::<nix::errno::Errno>());
    let kind = io.map(std::io::Error::kind).or(errno.map(|&e| std::io::Error::from(e).kind()));
    matches!(
        kind,
        Some(
            ErrorKind::ConnectionRefused
                | ErrorKind::NotFound
                | ErrorKind::ConnectionReset
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
        )
    )
}

/// Its socket, where there is one: /run/irqbalance/irqbalancePID.sock.
pub fn socket_path(root: &Root) -> Option<String> {
    let folder = "run/irqbalance";
    let names = root.list(folder).ok()?;
    // One whose process was killed leaves its socket behind.
    let alive = |n: &&String| {
        let pid = n.strip_prefix("irqbalance").and_then(|n| n.strip_suffix(".sock"));
        pid.is_some_and(|pid| root.exists(&format!("proc/{pid}/comm")))
    };
    let name = names.iter().find(alive)?;
    Some(root.full(&format!("{folder}/{name}")))
}

/// Without waiting in a full queue of a process that hangs.
fn connect(path: &str) -> std::io::Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    while let Err(e) = nix::sys::socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?) {
        if e != nix::errno::Errno::EAGAIN || Instant::now() > deadline {
            return Err(e.into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn ask(path: &str, command: &str) -> Result<String> {
    let what = || format!("ask irqbalance at {path}: {command}");
    let mut stream = connect(path).with_context(what)?;
    stream.set_read_timeout(Some(PATIENCE)).with_context(what)?;
    stream.set_write_timeout(Some(PATIENCE)).with_context(what)?;
    // It answers only who proves to be root by credentials sent along.
    let who = UnixCredentials::new();
    let message = [IoSlice::new(command.as_bytes())];
    let proof = [ControlMessage::ScmCredentials(&who)];
    sendmsg::<()>(stream.as_raw_fd(), &message, &proof, MsgFlags::empty(), None)
        .with_context(what)?;
    if !command.starts_with("setup") {
        // It closes the connection once it has taken the command.
        let _ = stream.read(&mut [0; 64]);
        return Ok(String::new());
    }
    let mut reply = vec![0; 1 << 16];
    let length = match stream.read(&mut reply) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            bail!("{}: no answer in {} s", what(), PATIENCE.as_secs())
        }
        // It ended before it answered: that is no list without bans.
        Ok(0) => return Err(std::io::Error::from(ErrorKind::UnexpectedEof)).with_context(what),
        read => read.with_context(what)?,
    };
    Ok(String::from_utf8_lossy(&reply[..length]).into_owned())
}

/// "SLEEP 10 IRQ 34 LOAD 0 DIFF 0 CLASS 5 IRQ 35 ... BANNED 0": the vectors it leaves alone.
pub(crate) fn banned(reply: &str) -> String {
    let words: Vec<&str> = reply.split_whitespace().collect();
    let mut vectors: Vec<u32> = words
        .windows(2)
        .filter(|pair| pair[0] == "IRQ")
        .filter_map(|pair| pair[1].parse().ok())
        .collect();
    vectors.sort_unstable();
    vectors.dedup();
    vectors.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reply_to_setup() {
        let reply = "SLEEP 10 IRQ 35 LOAD 0 DIFF 0 CLASS 5 IRQ 34 LOAD 1 DIFF 0 CLASS 5 BANNED 0";
        assert_eq!(banned(reply), "34 35");
        assert_eq!(banned("SLEEP 10 BANNED 0"), "");
    }

    /// An irqbalance that answers `times`, then leaves its socket behind as one that is killed.
    fn answers(folder: &Path, pid: u32, times: usize, reply: &'static str) {
        let _ = std::fs::remove_dir_all(folder.join("run"));
        std::fs::create_dir_all(folder.join("run/irqbalance")).unwrap();
        std::fs::create_dir_all(folder.join(format!("proc/{pid}"))).unwrap();
        std::fs::write(folder.join(format!("proc/{pid}/comm")), "irqbalance").unwrap();
        let socket = folder.join(format!("run/irqbalance/irqbalance{pid}.sock"));
        let listener = UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().take(times).flatten() {
                let _ = stream.read(&mut [0; 64]);
                let _ = std::io::Write::write_all(&mut stream, reply.as_bytes());
            }
        });
    }

    #[test]
    fn one_that_is_being_restarted_is_waited_for_and_one_that_is_gone_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let one = Irqbalance::default();
        let begin = Instant::now();
        assert_eq!(one.read(&root).unwrap(), State::Absent);
        answers(folder.path(), 7, 1, "SLEEP 10 IRQ 34 LOAD 0 DIFF 0 CLASS 5 BANNED 0");
        assert_eq!(one.read(&root).unwrap(), State::is("34"));
        assert!(begin.elapsed() < Duration::from_secs(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                answers(folder.path(), 8, 2, "SLEEP 10 BANNED 0");
            });
            assert_eq!(one.read(&root).unwrap(), State::is(""));
        });
        one.write(&root, &State::is("34")).unwrap();
        one.switched();
        let begin = Instant::now();
        assert_eq!(one.read(&root).unwrap(), State::Absent);
        assert!(one.write(&root, &State::is("34")).is_err());
        assert!(begin.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn one_that_ends_before_it_answers_has_no_list() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        answers(folder.path(), 7, 1, "");
        assert_eq!(Irqbalance::default().read(&root).unwrap(), State::Absent);
    }
}
