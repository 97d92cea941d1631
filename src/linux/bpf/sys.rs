//! The commands of bpf(2) that aya keeps to itself: what a link is attached to, taking it off at
//! once, and who is at a hook. Offsets are those of `union bpf_attr` and the info structures of
//! linux/bpf.h.
#![allow(unsafe_code, reason = "the system call has no safe wrapper; nothing else here needs one")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::model::hex;
use nix::libc;

const MAP_CREATE: i32 = 0;
const PROG_LOAD: i32 = 5;
const OBJ_PIN: i32 = 6;
const OBJ_GET: i32 = 7;
const PROG_GET_FD_BY_ID: i32 = 13;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const PROG_QUERY: i32 = 16;
const LINK_GET_FD_BY_ID: i32 = 30;
const LINK_GET_NEXT_ID: i32 = 31;
const LINK_DETACH: i32 = 34;

const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_XDP: u32 = 6;
const XDP_HAS_FRAGS: u32 = 1 << 5;
/// r0 = XDP_PASS; exit, as bytes: code, registers, offset, immediate.
const PASS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

pub const TCX_INGRESS: u32 = 46;
pub const TCX_EGRESS: u32 = 47;
pub const NETKIT_PRIMARY: u32 = 54;

#[derive(Default)]
struct Attr([u64; 16]);

impl Attr {
    /// A field of four bytes at a byte offset.
    fn word(mut self, at: usize, value: u32) -> Self {
        let shift = (at % 8) * 8;
        let shift = if cfg!(target_endian = "big") { 32 - shift } else { shift };
        self.0[at / 8] |= u64::from(value) << shift;
        self
    }

    fn long(mut self, at: usize, value: u64) -> Self {
        self.0[at / 8] = value;
        self
    }

    fn read_word(&self, at: usize) -> u32 {
        let shift = (at % 8) * 8;
        let shift = if cfg!(target_endian = "big") { 32 - shift } else { shift };
        (self.0[at / 8] >> shift) as u32
    }

    fn call(&mut self, command: i32) -> io::Result<i64> {
        // SAFETY: the kernel reads and writes at most the size given, which is this array's; every
        // address in it is that of a buffer that its caller keeps until the call has returned.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                self.0.as_mut_ptr(),
                std::mem::size_of_val(&self.0) as u32,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    fn open(mut self, command: i32) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the command gives a new descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }
}

/// Loads a program that lets everything pass and takes packets in fragments, and lets it go. Not by
/// aya: its loader reads the types of the whole kernel first, at 30 ms.
pub fn load_with_frags() -> io::Result<()> {
    let mut code = PASS;
    if cfg!(target_endian = "big") {
        code[0][4..].reverse();
    }
    Attr::default()
        .word(0, PROG_TYPE_XDP)
        .word(4, code.len() as u32)
        .long(8, code.as_ptr() as u64)
        .long(16, c"GPL".as_ptr() as u64)
        .word(44, XDP_HAS_FRAGS)
        .open(PROG_LOAD)
        .map(drop)
}

/// An array of `entries` values. Not by an object of aya's, for the same reason.
pub fn create_array(value_size: usize, entries: usize) -> io::Result<OwnedFd> {
    Attr::default()
        .word(0, MAP_TYPE_ARRAY)
        .word(4, 4)
        .word(8, value_size as u32)
        .word(12, entries as u32)
        .open(MAP_CREATE)
}

/// A pinned link or program.
pub fn open_pin(path: &str) -> io::Result<OwnedFd> {
    let path = CString::new(path).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    Attr::default().long(0, path.as_ptr() as u64).open(OBJ_GET)
}

/// Gives a link a name that outlives the process.
pub fn pin(link: &OwnedFd, path: &str) -> io::Result<()> {
    let path = CString::new(path).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let mut attr = Attr::default().long(0, path.as_ptr() as u64).word(8, link.as_raw_fd() as u32);
    attr.call(OBJ_PIN).map(drop)
}

/// The link by which a program is on a network link, whether it is pinned where we see it or not.
/// Numbers of network links are of a namespace, those of programs of the machine.
pub fn link_of(program: u32, ifindex: u32) -> io::Result<Option<OwnedFd>> {
    let mut id = 0;
    loop {
        let mut next = Attr::default().word(0, id);
        match next.call(LINK_GET_NEXT_ID) {
            Ok(_) => id = next.read_word(4),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(e) => return Err(e),
        }
        match Attr::default().word(0, id).open(LINK_GET_FD_BY_ID) {
            Ok(link) if link_info(&link)? == (LinkInfo { program, ifindex }) => {
                return Ok(Some(link));
            }
            Ok(_) => {}
            // Gone since it was listed.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Takes effect before it returns, while a removed pin is cleared some time later.
pub fn detach(link: &OwnedFd) -> io::Result<()> {
    Attr::default().word(0, link.as_raw_fd() as u32).call(LINK_DETACH).map(drop)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkInfo {
    pub program: u32,
    /// 0: it is attached no more.
    pub ifindex: u32,
}

fn info<const N: usize>(fd: &OwnedFd) -> io::Result<[u64; N]> {
    let mut info = [0u64; N];
    let mut attr = Attr::default()
        .word(0, fd.as_raw_fd() as u32)
        .word(4, (N * 8) as u32)
        .long(8, info.as_mut_ptr() as u64);
    attr.call(OBJ_GET_INFO_BY_FD)?;
    Ok(info)
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

pub fn link_info(link: &OwnedFd) -> io::Result<LinkInfo> {
    let info = bytes(&info::<16>(link)?);
    Ok(LinkInfo { program: word(&info, 8), ifindex: word(&info, 16) })
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramInfo {
    pub name: String,
    pub tag: String,
}

/// Wants CAP_SYS_ADMIN.
pub fn program_info(id: u32) -> io::Result<ProgramInfo> {
    let fd = Attr::default().word(0, id).open(PROG_GET_FD_BY_ID)?;
    let info = bytes(&info::<32>(&fd)?);
    let name = info[64..80].split(|b| *b == 0).next().unwrap_or_default();
    Ok(ProgramInfo { name: String::from_utf8_lossy(name).into_owned(), tag: hex(&info[8..16]) })
}

/// Ids of the programs at a hook of a link, in their order.
pub fn query(ifindex: u32, hook: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; 64];
    let mut attr = Attr::default()
        .word(0, ifindex)
        .word(4, hook)
        .long(16, ids.as_mut_ptr() as u64)
        .word(24, ids.len() as u32);
    attr.call(PROG_QUERY)?;
    let count = (attr.read_word(24) as usize).min(ids.len());
    Ok(ids[..count].to_vec())
}
