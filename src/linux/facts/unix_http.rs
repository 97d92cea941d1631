//! One GET over a unix socket, bounded in time and size: an agent that hangs, floods or talks
//! nonsense is an error with a name, never a wait and never "not there".

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use httparse::{EMPTY_HEADER, Response, Status};
use nix::fcntl::OFlag;
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::linux::root::Root;

const MOST_BYTES: usize = 4 << 20;
const MOST_HEAD: usize = 64 << 10;

/// The time all requests to one agent have together.
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(time: Duration) -> Self {
        Deadline(Instant::now() + time)
    }

    fn left(&self) -> Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no whole answer in time");
        Ok(left)
    }
}

/// The body of a 200.
pub fn get(root: &Root, socket: &str, path: &str, deadline: &Deadline) -> Result<Vec<u8>> {
    let what = || format!("ask {} for {path}", root.full(socket));
    let mut stream = open(root, socket, deadline).with_context(what)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.set_write_timeout(Some(deadline.left()?)).with_context(what)?;
    stream.write_all(request.as_bytes()).with_context(what)?;
    answer(&mut stream, deadline).with_context(what)
}

/// Through the descriptor, so that no symbolic link leads out of the root, and the path may be longer
/// than a socket address holds.
fn open(root: &Root, path: &str, deadline: &Deadline) -> Result<UnixStream> {
    let file = root.openat(path, OFlag::O_PATH, 0)?;
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Connecting waits as well, where the queue of a process that hangs is full.
    let left = i64::try_from(deadline.left()?.as_micros()).unwrap_or(i64::MAX);
    setsockopt(&fd, SendTimeout, &TimeVal::microseconds(left.max(1)))?;
    let address = UnixAddr::new(format!("/proc/self/fd/{}", file.as_raw_fd()).as_str())?;
    connect(fd.as_raw_fd(), &address)?;
    Ok(UnixStream::from(fd))
}

pub(crate) fn answer(stream: &mut UnixStream, deadline: &Deadline) -> Result<Vec<u8>> {
    let mut input = Input { stream, deadline, bytes: Vec::new(), ended: false };
    let head = loop {
        if let Some(head) = head(&input.bytes)? {
            break head;
        }
        ensure!(input.bytes.len() <= MOST_HEAD, "its head is over {MOST_HEAD} bytes");
        ensure!(input.more()?, "the answer is cut off in its head");
    };
    ensure!(head.code == 200, "it answers {}", head.code);
    input.bytes.drain(..head.length);
    match head.body {
        Body::Length(length) => {
            ensure!(length <= MOST_BYTES, "an answer of {length} bytes is too long");
            while input.bytes.len() < length {
                let now = input.bytes.len();
                ensure!(input.more()?, "the answer is cut off: {now} of {length} bytes");
            }
            input.bytes.truncate(length);
            Ok(input.bytes)
        }
        Body::Chunked => input.chunks(),
        Body::ToTheEnd => {
            while input.more()? {}
            Ok(input.bytes)
        }
    }
}

enum Body {
    Length(usize),
    Chunked,
    ToTheEnd,
}

struct Head {
    length: usize,
    code: u16,
    body: Body,
}

fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [EMPTY_HEADER; 64];
    let mut response = Response::new(&mut headers);
    let Status::Complete(length) = response.parse(bytes).context("it does not speak HTTP")? else {
        return Ok(None);
    };
    let field = |name: &str| {
        let found = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        found.map(|h| String::from_utf8_lossy(h.value).trim().to_ascii_lowercase())
    };
    let body = match (field("transfer-encoding"), field("content-length")) {
        (Some(coding), _) if coding == "chunked" => Body::Chunked,
        (Some(coding), _) => bail!("its transfer encoding is {coding:?}"),
        (None, Some(length)) => {
            Body::Length(length.parse().with_context(|| format!("its length is {length:?}"))?)
        }
        (None, None) => Body::ToTheEnd,
    };
    Ok(Some(Head { length, code: response.code.unwrap_or(0), body }))
}

struct Input<'a> {
    stream: &'a mut UnixStream,
    deadline: &'a Deadline,
    bytes: Vec<u8>,
    ended: bool,
}

impl Input<'_> {
    /// False at the end.
    fn more(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let mut buffer = [0; 16 << 10];
        self.stream.set_read_timeout(Some(self.deadline.left()?))?;
        let length = match self.stream.read(&mut buffer) {
            Ok(length) => length,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("no whole answer in time")
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(e) => return Err(e.into()),
        };
        self.ended = length == 0;
        self.bytes.extend_from_slice(&buffer[..length]);
        ensure!(self.bytes.len() <= MOST_BYTES + MOST_HEAD, "an answer over 4 MiB is too long");
        Ok(length > 0)
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut at = 0;
        loop {
            let size = httparse::parse_chunk_size(&self.bytes[at..])
                .map_err(|_| anyhow::anyhow!("its chunks are malformed"))?;
            let Status::Complete((start, size)) = size else {
                ensure!(self.bytes.len() - at <= 64, "its chunks are malformed");
                ensure!(self.more()?, "the answer is cut off between chunks");
                continue;
            };
            if size == 0 {
                return Ok(body);
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            ensure!(size <= MOST_BYTES - body.len(), "an answer over 4 MiB is too long");
            at += start;
            while self.bytes.len() < at + size + 2 {
                ensure!(self.more()?, "the answer is cut off in a chunk");
            }
            body.extend_from_slice(&self.bytes[at..at + size]);
            ensure!(&self.bytes[at + size..at + size + 2] == b"\r\n", "its chunks are malformed");
            // What is used goes, so that a flood of tiny chunks is bounded by its body alone.
            self.bytes.drain(..at + size + 2);
            at = 0;
        }
    }
}
