//! Frames by hand, right down to their checksums, so that each test breaks one thing in them.
#![allow(dead_code, reason = "each user takes its part")]

pub const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const POD: [u8; 6] = [2, 0, 0, 0, 1, 2];

#[derive(Clone)]
pub struct Frame(pub Vec<u8>);

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;

fn ethernet(to: [u8; 6], kind: u16) -> Vec<u8> {
    [&to[..], &[2, 0, 0, 0, 9, 9], &kind.to_be_bytes()].concat()
}

pub fn transport(protocol: u8, ports: (u16, u16), payload: usize) -> Vec<u8> {
    let mut bytes = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    match protocol {
        TCP => bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 0x10, 1, 0, 0, 0, 0, 0]),
        UDP => bytes.extend([0, 8 + payload as u8, 0, 0]),
        ICMP => bytes = vec![8, 0, 0, 0, 0, 1, 0, 1],
        ICMPV6 => bytes = vec![128, 0, 0, 0, 0, 1, 0, 1],
        _ => bytes = vec![0; 8],
    }
    bytes.resize(bytes.len() + payload, 7);
    bytes
}

impl Frame {
    pub fn v4(to: [u8; 6], source: &str, dest: &str, protocol: u8, payload: usize) -> Self {
        let l4 = transport(protocol, (40000, 443), payload);
        let mut bytes = ethernet(to, 0x0800);
        bytes.extend([0x45, 0]);
        bytes.extend((20 + l4.len() as u16).to_be_bytes());
        bytes.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
        for address in [source, dest] {
            bytes.extend(address.parse::<std::net::Ipv4Addr>().unwrap().octets());
        }
        bytes.extend(l4);
        Frame(bytes).sum()
    }

    pub fn v6(to: [u8; 6], source: &str, dest: &str, protocol: u8, payload: usize) -> Self {
        let l4 = transport(protocol, (40000, 443), payload);
        let mut bytes = ethernet(to, 0x86dd);
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend((l4.len() as u16).to_be_bytes());
        bytes.extend([protocol, 64]);
        for address in [source, dest] {
            bytes.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
        }
        bytes.extend(l4);
        Frame(bytes)
    }

    /// The IPv4 header's checksum made right again.
    pub fn sum(mut self) -> Self {
        let length = usize::from(self.0[14] & 15) * 4;
        self.0[24..26].copy_from_slice(&[0, 0]);
        let words =
            self.0[14..14 + length].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        self.0[24..26].copy_from_slice(&(!sum as u16).to_be_bytes());
        self
    }

    /// Byte `at` of the IP header.
    pub fn ip(mut self, at: usize, value: u8) -> Self {
        self.0[14 + at] = value;
        self
    }

    /// The same as [`Self::ip`] with the checksum made right.
    pub fn ip4(self, at: usize, value: u8) -> Self {
        self.ip(at, value).sum()
    }

    pub fn byte(mut self, at: usize, value: u8) -> Self {
        self.0[at] = value;
        self
    }

    pub fn port(mut self, dest: u16) -> Self {
        let l4 = if self.0[12] == 8 { 14 + 20 } else { 14 + 40 };
        self.0[l4 + 2..l4 + 4].copy_from_slice(&dest.to_be_bytes());
        self
    }

    pub fn cut(mut self, length: usize) -> Self {
        self.0.truncate(length);
        self
    }

    /// A VLAN tag behind the addresses.
    pub fn tagged(mut self, kind: u16) -> Self {
        let tag = [kind.to_be_bytes(), 7u16.to_be_bytes()].concat();
        self.0.splice(12..12, tag);
        self
    }

    /// An IPv4 option that says nothing.
    pub fn option4(mut self) -> Self {
        self.0.splice(34..34, [1, 1, 1, 1]);
        self.0[14] = 0x46;
        self.0[17] += 4;
        self.sum()
    }

    /// An IPv6 header of `kind` between the IP header and what follows.
    pub fn chain6(mut self, kind: u8, body: [u8; 7]) -> Self {
        let next = self.0[20];
        self.0[20] = kind;
        self.0.splice(54..54, [next].into_iter().chain(body));
        let length = u16::from_be_bytes([self.0[18], self.0[19]]) + 8;
        self.0[18..20].copy_from_slice(&length.to_be_bytes());
        self
    }
}
