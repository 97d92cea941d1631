#!/usr/bin/python3
"""datapath.py BRIDGE LINK: a datapath of the openvswitch module whose ports these are, and what comes to one goes out of the other."""

import os
import socket
import struct
import sys

GENERIC, ERROR, REQUEST, ACK = 16, 2, 1, 4
GETFAMILY, FAMILY_ID, FAMILY_NAME = 3, 1, 2
NEW = 1
DP_NAME, DP_UPCALL_PID, DP_FEATURES = 1, 2, 5
PORT_NUMBER, PORT_TYPE, PORT_NAME, PORT_UPCALL_PID = 1, 2, 3, 5
NETDEV, INTERNAL = 1, 2
FLOW_KEY, FLOW_ACTIONS, FLOW_MASK = 1, 2, 7
IN_PORT, ETHERNET, OUTPUT = 3, 4, 1

netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC)
netlink.bind((0, 0))


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def text(kind, word):
    return attribute(kind, word.encode() + b"\0")


def number(kind, value):
    return attribute(kind, struct.pack("=I", value))


def send(family, command, version, body, flags):
    generic = struct.pack("=BBH", command, version, 0) + body
    netlink.send(struct.pack("=IHHII", 16 + len(generic), family, flags, 1, 0) + generic)


def family(name):
    send(GENERIC, GETFAMILY, 1, text(FAMILY_NAME, name), REQUEST)
    answer, at = netlink.recv(1 << 16), 20
    while at < len(answer):
        length, kind = struct.unpack_from("=HH", answer, at)
        if kind == FAMILY_ID:
            return struct.unpack_from("=H", answer, at + 4)[0]
        at += length + 3 & ~3
    sys.exit(f"the kernel has no {name}")


def make(what, family_name, version, datapath, body):
    send(family(family_name), NEW, version, struct.pack("=I", datapath) + body, REQUEST | ACK)
    kind = 0
    while kind != ERROR:  # what was made may come before it
        answer = netlink.recv(1 << 16)
        kind, = struct.unpack_from("=H", answer, 4)
    code, = struct.unpack_from("=i", answer, 16)
    if code:
        sys.exit(f"{what}: {os.strerror(-code)}")


bridge, link = sys.argv[1:]
make("ovs-system", "ovs_datapath", 2, 0, text(DP_NAME, "ovs-system") + number(DP_UPCALL_PID, 0) + number(DP_FEATURES, 3))
datapath = socket.if_nametoindex("ovs-system")
for at, (name, kind) in enumerate([(bridge, INTERNAL), (link, NETDEV)], 1):
    make(name, "ovs_vport", 1, datapath, number(PORT_NUMBER, at) + number(PORT_TYPE, kind) + text(PORT_NAME, name) +
         number(PORT_UPCALL_PID, 0))
for come, go in (1, 2), (2, 1):
    make(f"{come} to {go}", "ovs_flow", 1, datapath,
         attribute(FLOW_KEY, number(IN_PORT, come) + attribute(ETHERNET, bytes(12))) +
         attribute(FLOW_MASK, number(IN_PORT, 0xffffffff) + attribute(ETHERNET, bytes(12))) +
         attribute(FLOW_ACTIONS, number(OUTPUT, go)))
