"""netkit.py HOST PEER PID [l2]: a netkit pair, its peer in the network namespace of PID. This iproute2 does not know it."""
import os
import socket
import struct
import sys

NEWLINK, REQUEST, ACK, CREATE, EXCL = 16, 1, 4, 0x400, 0x200
IFNAME, LINKINFO, NET_NS_PID, KIND, DATA = 3, 18, 19, 1, 2
PEER_INFO, MODE = 1, 5


def attr(kind, value):
    return (struct.pack("=HH", len(value) + 4, kind) + value).ljust((len(value) + 7) & ~3, b"\0")


host, peer, pid = sys.argv[1:4]
mode = 0 if sys.argv[4:] == ["l2"] else 1
header = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
other = header + attr(IFNAME, peer.encode() + b"\0") + attr(NET_NS_PID, struct.pack("=I", int(pid)))
data = attr(MODE, struct.pack("=I", mode)) + attr(PEER_INFO, other)
body = header + attr(IFNAME, host.encode() + b"\0") + attr(LINKINFO, attr(KIND, b"netkit\0") + attr(DATA, data))
link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
link.send(struct.pack("=IHHII", 16 + len(body), NEWLINK, REQUEST | ACK | CREATE | EXCL, 1, 0) + body)
error = -struct.unpack_from("=i", link.recv(4096), 16)[0]
sys.exit(error and f"add netkit {host}: {os.strerror(error)}")
