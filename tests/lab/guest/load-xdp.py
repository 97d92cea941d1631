#!/usr/bin/python3
"""load-xdp.py NAME PIN: loads an XDP program of that name that passes every packet, and pins it."""

import ctypes
import os
import struct
import sys

BPF, PROG_LOAD, OBJ_PIN, XDP = 321, 5, 6, 6
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    got = libc.syscall(BPF, command, buffer, len(attributes))
    if got < 0:
        sys.exit(f"bpf({command}): {os.strerror(ctypes.get_errno())}")
    return got


name, pin = sys.argv[1].encode(), ctypes.create_string_buffer(sys.argv[2].encode())
# r0 = XDP_PASS; exit
code = ctypes.create_string_buffer(bytes.fromhex("b700000002000000" "9500000000000000"), 16)
licence = ctypes.create_string_buffer(b"GPL")
fd = bpf(PROG_LOAD, struct.pack("=IIQQIIQII16s", XDP, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0, name))
bpf(OBJ_PIN, struct.pack("=QI", ctypes.addressof(pin), fd))
