"""A filter for this process itself: calls that a verb has no use for, and Landlock does not ask about.

Modes, owners and attributes of files are none of Landlock's rights, nor, before ABI 9, are sockets that have paths, of
which a container engine's is as good as root. Refused are those, and what reaches far into the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Collection

from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

_WORDS = """
chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat utime utimes futimesat utimensat setxattr lsetxattr
fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr ptrace process_vm_readv
process_vm_writev process_madvise kcmp io_uring_setup bpf perf_event_open userfaultfd add_key request_key keyctl
mount umount2 move_mount open_tree open_tree_attr fsopen fspick fsconfig fsmount mount_setattr pivot_root chroot
setns unshare open_by_handle_at init_module finit_module delete_module kexec_load kexec_file_load reboot swapon
swapoff acct quotactl quotactl_fd sethostname setdomainname syslog settimeofday clock_settime clock_adjtime adjtimex
iopl ioperm modify_ldt mq_open shmget msgget semget
"""
_CALLS = tuple(_WORDS.split())

# linux/filter.h, linux/bpf_common.h, linux/seccomp.h, linux/prctl.h
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCH, _FIRST, _SECOND = 0, 4, 16, 24  # of struct seccomp_data; lower halves of arguments, little-endian
_STREAM = socket.SOCK_STREAM | socket.SOCK_CLOEXEC
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000 | errno.EPERM
_X32_BIT = 1 << 30
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse(*, families: Collection[int] = ()) -> bool:
    """Refuse these calls to this process from now on, for good: EPERM.

    Sets no-new-privileges. Returns whether it did: on a machine that we do not know, nothing has changed. Raises
    OSError where the kernel takes no filter.

    Args:
        families: of sockets that can still be made (AF_NETLINK …); of others none can.
    """
    machine = os.uname().machine
    known = {"x86_64": Arch.X86_64, "aarch64": Arch.AARCH64}
    if machine not in known or sys.maxsize < 1 << 32 or sys.byteorder != "little":
        return False
    code = _filter(known[machine], families)
    program = _Program(len(code) // 8, code)
    for words in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program), 0, 0)):
        if _libc.prctl(words[0], *map(ctypes.c_ulong, words[1:])) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"seccomp: {os.strerror(number)}")
    return True


def _filter(arch: Arch, families: Collection[int]) -> bytes:
    table = numbers(arch)
    code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch.audit), (_RETURN, 0, 0, _ERRNO), (_LOAD, 0, 0, _NUMBER)]
    if arch is Arch.X86_64:
        code += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _ERRNO)]
    for name in _CALLS:
        if name in table:  # not every machine has the older of them
            code += [(_EQUAL, 0, 1, table[name]), (_RETURN, 0, 0, _ERRNO)]
    # An event loop wakes itself with a pair. One of datagrams could be sent elsewhere.
    code += [(_EQUAL, 0, 4, table["socketpair"]), (_LOAD, 0, 0, _SECOND), (_EQUAL, 0, 1, _STREAM)]
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO)]
    code += [(_EQUAL, 1, 0, table["socket"]), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _FIRST)]
    for family in families:
        code += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    code.append((_RETURN, 0, 0, _ERRNO))
    return b"".join(struct.pack("=HBBI", *one) for one in code)
