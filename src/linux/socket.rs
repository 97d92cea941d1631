//! A blocking netlink socket for the families whose messages begin with a header of four bytes:
//! nf_tables needs its transaction in one send, and has no other family's messages; links and routes,
//! of which there may be many, are listed here one by one, and are changed by rtnetlink's own connection (link.rs).

use std::io::{self, ErrorKind};

use anyhow::{Context, Error, Result, ensure};
use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_ACK_TLVS, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};
use nix::libc::EOPNOTSUPP;
use nix::sys::socket::{setsockopt, sockopt::SndBufForce};

const MSG_TRUNC: i32 = 0x20;
/// What an acknowledgement repeats of a request, of which it was told to leave out the rest.
pub const CAPPED: usize = 16;
const RECEIVE_LEN: usize = 1 << 16;
/// Room for a transaction of some thousand rules; the default holds 160.
const SEND_LEN: usize = 4 << 20;

/// The last of each kind: nested lists are walked with [`nlas`]. They are few, and messages may be many: no map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attrs<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Attrs<'a> {
    pub fn get(&self, kind: &u16) -> Option<&&'a [u8]> {
        self.0.iter().find(|(k, _)| k == kind).map(|(_, value)| value)
    }

    pub fn contains_key(&self, kind: &u16) -> bool {
        self.get(kind).is_some()
    }

    pub fn remove(&mut self, kind: &u16) {
        self.retain(|k, _| k != kind);
    }

    pub fn retain(&mut self, keep: impl Fn(&u16, &[u8]) -> bool) {
        self.0.retain(|(kind, value)| keep(kind, value));
    }

    pub fn keys(&self) -> impl Iterator<Item = &u16> {
        self.0.iter().map(|(kind, _)| kind)
    }

    #[cfg(test)]
    pub fn values(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.0.iter().map(|(_, value)| *value)
    }
}

impl<'a> FromIterator<(u16, &'a [u8])> for Attrs<'a> {
    /// In the order of kinds, so that what says the same is equal.
    fn from_iter<I: IntoIterator<Item = (u16, &'a [u8])>>(attributes: I) -> Self {
        let mut all: Vec<(u16, &[u8])> = Vec::with_capacity(8);
        for (kind, value) in attributes {
            match all.binary_search_by_key(&kind, |(k, _)| *k) {
                Ok(at) => all[at].1 = value,
                Err(at) => all.insert(at, (kind, value)),
            }
        }
        Attrs(all)
    }
}

/// The io::Error in the chain of `err`.
pub fn io_error(err: &Error) -> Option<&io::Error> {
    err.chain().find_map(|cause| cause.downcast_ref())
}

/// Its errno, as a positive number.
pub fn errno(err: &Error) -> Option<i32> {
    io_error(err)?.raw_os_error()
}

/// Whether what a dump lists changed while it was read.
pub fn interrupted(err: &Error) -> bool {
    io_error(err).is_some_and(|e| e.kind() == ErrorKind::Interrupted)
}

pub fn nlas(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).flatten().map(|nla| {
        let len = nla.length() as usize;
        (nla.kind(), &nla.into_inner()[4..len])
    })
}

pub fn attrs(bytes: &[u8]) -> Attrs<'_> {
    nlas(bytes).collect()
}

pub fn c_string(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

pub fn c_bytes(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

pub fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
    let nla = DefaultNla::new(kind, value.to_vec());
    let mut bytes = vec![0; nla.buffer_len()];
    nla.emit(&mut bytes);
    bytes
}

pub fn attributes(parts: &[(u16, &[u8])]) -> Vec<u8> {
    parts.iter().flat_map(|(kind, value)| nla(*kind, value)).collect()
}

/// `head` is nfgenmsg (family, version, resource id) or genlmsghdr (command, version, reserved).
#[derive(Debug)]
pub struct Message {
    pub message_type: u16,
    pub head: [u8; 4],
    pub body: Vec<u8>,
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.message_type
    }

    fn buffer_len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (head, body) = buffer.split_at_mut(self.head.len());
        head.copy_from_slice(&self.head);
        body.copy_from_slice(&self.body);
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(netlink: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let (head, body) = payload
            .split_first_chunk::<4>()
            .ok_or_else(|| DecodeError::buffer_too_small(payload.len(), 4))?;
        Ok(Message { message_type: netlink.message_type, head: *head, body: body.to_vec() })
    }
}

pub struct Conn(Socket);

impl Conn {
    pub fn open(protocol: isize) -> Result<Self> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            // Without CAP_NET_ADMIN it stays as it is, and there is nothing long to send either.
            let _ = setsockopt(&socket, SndBufForce, &SEND_LEN);
            Ok::<_, io::Error>(Conn(socket))
        };
        open().context("open netlink socket")
    }

    /// The messages up to the acknowledgement or end of dump that `flags` ask for.
    pub fn request(&self, flags: u16, message: Message, what: &str) -> Result<Vec<Message>> {
        let mut reply = Vec::new();
        let whole = self.each(flags, message, what, |message| reply.push(message))?;
        let interrupted = || io::Error::from(ErrorKind::Interrupted);
        if whole { Ok(reply) } else { Err(interrupted()).with_context(|| what.to_owned()) }
    }

    /// Hands out each message as it comes; false where what is listed changed meanwhile.
    pub fn each(
        &self,
        flags: u16,
        message: Message,
        what: &str,
        mut take: impl FnMut(Message),
    ) -> Result<bool> {
        let request = serialize(flags, 1, message);
        self.0.send(&request, 0).with_context(|| what.to_owned())?;
        let mut whole = true;
        loop {
            for message in self.receive().with_context(|| what.to_owned())? {
                check(&message).with_context(|| what.to_owned())?;
                whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => take(message),
                    _ => return Ok(whole),
                }
            }
        }
    }

    /// Sends several messages at once; the first reply is an error of the whole or of one of them,
    /// or else what the last one asked for. `names` says by sequence number what failed.
    pub fn batch(&self, messages: Vec<(u16, Message)>, names: &[String]) -> Result<()> {
        let mut bytes = Vec::new();
        for (sequence, (flags, message)) in messages.into_iter().enumerate() {
            bytes.extend(serialize(flags, sequence as u32, message));
        }
        self.0.send(&bytes, 0).context("send netlink transaction")?;
        for message in self.receive().context("commit netlink transaction")? {
            let step = names.get(message.header.sequence_number as usize);
            check(&message).with_context(|| step.cloned().unwrap_or_default())?;
        }
        Ok(())
    }

    fn receive(&self) -> Result<Vec<NetlinkMessage<Message>>> {
        let mut buffer = Vec::with_capacity(RECEIVE_LEN);
        let len = self.0.recv(&mut buffer, MSG_TRUNC)?;
        ensure!(len <= buffer.len(), "netlink reply of {len} bytes is too long");
        messages(&buffer)
    }
}

/// What one datagram holds.
pub(crate) fn messages(bytes: &[u8]) -> Result<Vec<NetlinkMessage<Message>>> {
    let (mut messages, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let message = NetlinkMessage::<Message>::deserialize(rest)?;
        let len = (message.header.length as usize).next_multiple_of(4);
        rest = rest.get(len..).unwrap_or_default();
        messages.push(message);
    }
    Ok(messages)
}

fn serialize(flags: u16, sequence: u32, message: Message) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number) = (NLM_F_REQUEST | flags, sequence);
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The errno of a reply, under the kernel's own words when it has some.
pub(crate) fn check(message: &NetlinkMessage<Message>) -> Result<()> {
    let (code, details) = match &message.payload {
        NetlinkPayload::Error(err) => {
            (err.raw_code(), err.header.get(CAPPED..).unwrap_or_default())
        }
        // A dump of ethtool's ends so when the last link has no such thing (seen on 5.10): the others
        // have answered.
        NetlinkPayload::Done(done) if done.code == -EOPNOTSUPP => (0, &[][..]),
        NetlinkPayload::Done(done) => (done.code, &done.extended_ack[..]),
        _ => (0, &[][..]),
    };
    if code >= 0 {
        return Ok(());
    }
    let details = if message.header.flags & NLM_F_ACK_TLVS != 0 { details } else { &[] };
    Err(refused(code, details))
}

/// An errno, under the kernel's own words where it has said any.
pub fn refused(code: i32, details: &[u8]) -> Error {
    let err = Error::new(io::Error::from_raw_os_error(code.wrapping_neg()));
    match attrs(details).get(&1) {
        Some(text) => err.context(c_string(text)),
        None => err,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DoneMessage;

    use super::*;

    #[test]
    fn a_dump_whose_last_link_has_nothing_is_a_dump() {
        let ends = |code| {
            let mut done = DoneMessage::default();
            done.code = code;
            let done = NetlinkPayload::Done(done);
            check(&NetlinkMessage::new(NetlinkHeader::default(), done))
        };
        assert!(ends(0).is_ok() && ends(-EOPNOTSUPP).is_ok());
        // No errno, and no number to negate.
        assert!(ends(i32::MIN).is_err());
        assert_eq!(errno(&ends(-nix::libc::EPERM).unwrap_err()), Some(nix::libc::EPERM));
    }
}
