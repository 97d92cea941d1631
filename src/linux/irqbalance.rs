//! A running irqbalance takes a list of vectors to leave alone over its own socket. That lasts as
//! long as the process, so nothing of it outlives a boot.

use std::io::{IoSlice, Read};
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

/// "34 35 36", or empty; absent when no irqbalance with a socket runs.
pub fn read(root: &Root) -> Result<State> {
    let Some(path) = socket_path(root) else { return Ok(State::Absent) };
    let reply = match ask(&path, "setup") {
        Ok(reply) => reply,
        Err(e) => {
            let io = e.chain().find_map(|c| c.downcast_ref::<std::io::Error>());
            return match io.map(std::io::Error::kind) {
                // A socket file whose process is gone.
                Some(std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound) => {
                    Ok(State::Absent)
                }
                _ => Err(e),
            };
        }
    };
    Ok(State::Is(banned(&reply)))
}

pub fn write(root: &Root, state: &State) -> Result<()> {
    let path = socket_path(root).context("irqbalance is not running")?;
    let Some(list) = state.text() else { bail!("irqbalance's bans cannot be made {state}") };
    let list = if list.is_empty() { "NONE" } else { list };
    // It would cut the message, in the middle of a number.
    ensure!(list.len() <= 481, "irqbalance takes no list of {} characters", list.len());
    ask(&path, &format!("settings ban irqs {list}")).map(drop)
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
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
            bail!("{}: no answer in {} s", what(), PATIENCE.as_secs())
        }
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
    #[test]
    fn the_reply_to_setup() {
        let reply = "SLEEP 10 IRQ 35 LOAD 0 DIFF 0 CLASS 5 IRQ 34 LOAD 1 DIFF 0 CLASS 5 BANNED 0";
        assert_eq!(super::banned(reply), "34 35");
        assert_eq!(super::banned("SLEEP 10 BANNED 0"), "");
    }
}
