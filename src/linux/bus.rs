//! D-Bus. No question starts a daemon: every call says so (NO_AUTO_START).

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use zbus::message::Flags;
use zbus::zvariant::DynamicType;
use zbus::{Connection, Message, MessageStream};

use super::root::Root;

pub const ANSWER: Duration = Duration::from_secs(5);
/// A unit may take as long to stop as its TimeoutStopSec; TuneD's profiles run scripts.
pub const JOB: Duration = Duration::from_secs(60);

/// The node's system bus, also where its root is seen through a mount.
pub async fn connect(root: &Root) -> Result<Option<Connection>> {
    // No socket, no D-Bus: that is an answer, not an error.
    if !root.exists("run/dbus/system_bus_socket") {
        return Ok(None);
    }
    let address = format!("unix:path={}", root.full("run/dbus/system_bus_socket"));
    let builder = zbus::connection::Builder::address(address.as_str());
    let connection = tokio::time::timeout(ANSWER, builder.build())
        .await
        .context("connect to D-Bus: no answer")?
        .context("connect to D-Bus")?;
    Ok(Some(connection))
}

pub async fn call<B>(
    bus: &Connection,
    to: (&str, &str),
    interface: &str,
    member: &str,
    body: &B,
) -> Result<Message>
where
    B: serde::Serialize + DynamicType,
{
    call_within(ANSWER, bus, to, interface, member, body).await
}

pub async fn call_within<B>(
    patience: Duration,
    bus: &Connection,
    to: (&str, &str),
    interface: &str,
    member: &str,
    body: &B,
) -> Result<Message>
where
    B: serde::Serialize + DynamicType,
{
    let what = || format!("call {member} of {}", to.0);
    let message = Message::method_call(to.1, member)
        .destination(to.0)
        .interface(interface)
        .with_flags(Flags::NO_AUTO_START)
        .build(body)
        .with_context(what)?;
    let serial = message.primary_header().serial_num();
    let mut stream = MessageStream::from(bus.clone());
    bus.send(&message).await.with_context(what)?;
    let reply = async {
        while let Some(reply) = stream.next().await {
            let reply = reply?;
            if reply.header().reply_serial() != Some(serial) {
                continue;
            }
            if reply.message_type() == zbus::message::Type::Error {
                let name = reply.header().error_name().map(|n| n.to_string()).unwrap_or_default();
                let text: String = reply.body().deserialize().unwrap_or_default();
                return Err(anyhow::Error::new(Refused { name, text }));
            }
            return Ok(reply);
        }
        bail!("the bus closed the connection")
    };
    tokio::time::timeout(patience, reply)
        .await
        .with_context(|| format!("{}: no answer", what()))?
        .with_context(what)
}

/// An error reply.
#[derive(Debug)]
pub struct Refused {
    name: String,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.text, self.name)
    }
}

impl std::error::Error for Refused {}

pub fn refused_with(error: &anyhow::Error, names: &[&str]) -> bool {
    let refused = error.chain().find_map(|e| e.downcast_ref::<Refused>());
    refused.is_some_and(|r| names.iter().any(|n| r.name.ends_with(n)))
}

/// The bus answers that nobody has that name.
pub fn nobody(error: &anyhow::Error) -> bool {
    refused_with(error, &["ServiceUnknown", "NameHasNoOwner", "Spawn.ServiceNotFound"])
}

/// A call that nobody answered any more: whom it went to is gone, and may have heeded it before.
pub fn lost(error: &anyhow::Error) -> bool {
    nobody(error) || refused_with(error, &["Error.NoReply", "Error.Disconnected"])
}
