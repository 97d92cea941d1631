//! Ways to tell that a node can still be reached: `tcp:HOST:PORT` or `icmp:HOST`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::resource::valid_link;

/// Addresses only: to look up a name takes the network that is being changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Takes a connection.
    Tcp(SocketAddr),
    /// Answers an echo; the link is for addresses that mean nothing without one (fe80::).
    Icmp { host: IpAddr, link: Option<String> },
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::Tcp(to) => write!(f, "tcp:{to}"),
            Reach::Icmp { host, link: None } => write!(f, "icmp:{host}"),
            Reach::Icmp { host, link: Some(link) } => write!(f, "icmp:{host}%{link}"),
        }
    }
}

impl FromStr for Reach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no probe: write tcp:ADDRESS:PORT, tcp:[V6]:PORT or icmp:ADDRESS")
        };
        if let Some(to) = text.strip_prefix("tcp:") {
            let to: SocketAddr = to.parse().map_err(|_| wrong())?;
            return if to.port() == 0 { Err(wrong()) } else { Ok(Reach::Tcp(to)) };
        }
        let host = text.strip_prefix("icmp:").ok_or_else(wrong)?;
        let (host, link) = match host.split_once('%') {
            Some((host, link)) => {
                valid_link(link)?;
                (host, Some(link.to_string()))
            }
            None => (host, None),
        };
        Ok(Reach::Icmp { host: host.parse().map_err(|_| wrong())?, link })
    }
}

impl Serialize for Reach {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reach {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_comes_back() {
        for text in [
            "tcp:10.0.0.1:6443",
            "tcp:[2001:db8::1]:443",
            "icmp:10.0.0.1",
            "icmp:2001:db8::1",
            "icmp:fe80::1%eth0",
        ] {
            assert_eq!(text.parse::<Reach>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_probe() {
        for text in [
            "",
            "tcp:",
            "tcp:10.0.0.1",
            "tcp:10.0.0.1:0",
            "tcp:api.example.org:443",
            "icmp:",
            "icmp:gateway",
            "icmp:fe80::1%a/b",
            "udp:10.0.0.1:53",
            "10.0.0.1",
        ] {
            assert!(text.parse::<Reach>().is_err(), "{text}");
        }
    }
}
