"""Runs a command where user namespaces are refused, as containers refuse them by default.

A seccomp filter answers EPERM to unshare(2) and allows all else; it stays through exec. Linux only.
"""

import ctypes
import os
import platform
import struct
import sys

UNSHARE = {"x86_64": 272, "aarch64": 97}[platform.machine()]

# <linux/filter.h>: load the call's number; if it is unshare, return the error, else allow
PROGRAM = (
    (0x20, 0, 0, 0),
    (0x15, 0, 1, UNSHARE),
    (0x06, 0, 0, 0x0005_0001),
    (0x06, 0, 0, 0x7FFF_0000),
)


class SockFprog(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def prctl(*arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(*(ctypes.c_ulong(argument) for argument in arguments)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in PROGRAM))
program = SockFprog(len(PROGRAM), ctypes.addressof(filters))
prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, without which only root may install a filter
prctl(22, 2, ctypes.addressof(program), 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execv(sys.argv[1], sys.argv[1:])
