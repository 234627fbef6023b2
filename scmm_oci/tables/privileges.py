"""Which successful calls, with which argument values, show that a capability was used: capabilities(7) as a table.

A call that succeeded with these values needed the capability, *or* something else that the caller had: the file was its
own, the limit was not reached, it was root of a namespace of its own. So a row is a reason to keep the capability, and
never proof that it is needed; its note says what else may have been enough. UNSEEN names the capabilities that no call
shows at all. Binding a port below 1024 (CAP_NET_BIND_SERVICE) is the caller's to see: the port is in memory.

Places of arguments are those of most ABIs (tables.arguments); callers move those of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache


class Test(StrEnum):
    """How the values of an argument decide."""

    __test__ = False  # not one of pytest's

    EQUAL = "equal"
    """A value is one of the row's."""
    OTHER = "other"
    """A value is none of the row's."""
    BITS = "bits"
    """A value has one of the row's bits, and none of ``unless``."""


@dataclass(frozen=True)
class Check:
    """What an argument must have been.

    Attributes:
        arg: its place, 0 to 5.
        values: with BITS masks, else values.
        mask: the bits that count.
    """

    arg: int
    test: Test
    values: tuple[int, ...]
    mask: int = 0xFFFF_FFFF
    unless: int = 0

    def shown_by(self, seen: Iterable[int]) -> bool:
        """Whether one of the values seen is such."""
        masked = [value & self.mask for value in seen]
        if self.test is Test.EQUAL:
            return any(value in self.values for value in masked)
        if self.test is Test.OTHER:
            return any(value not in self.values for value in masked)
        return any(value & bits and not value & self.unless for value in masked for bits in self.values)


@dataclass(frozen=True)
class Need:
    """A call that shows a capability.

    Attributes:
        checks: what its arguments must have been, all of it.
        note: what else may have been enough; empty if the capability was.
    """

    call: str
    capability: str
    checks: tuple[Check, ...] = ()
    note: str = ""

    def shown_by(self, args: Mapping[int, frozenset[int]]) -> bool:
        """Whether the values seen show it. What is not known of an argument shows nothing.

        Values are sets, one for each argument: which were together is not known, and any may have been.
        """
        return all(check.shown_by(args.get(check.arg, ())) for check in self.checks)


def _each(capability: str, calls: str, *checks: Check, note: str = "") -> Iterable[Need]:
    return (Need(call, capability, checks, note) for call in calls.split())


def _equal(arg: int, *values: int, mask: int = 0xFFFF_FFFF) -> Check:
    return Check(arg, Test.EQUAL, values, mask)


def _bits(arg: int, *masks: int, unless: int = 0) -> Check:
    return Check(arg, Test.BITS, masks, unless=unless)


# linux/sched.h: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID and NEWNET. NEWTIME is within clone's signal.
_NAMESPACES = (0x20000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x2000_0000, 0x4000_0000)
_NEWTIME = 0x80
# With it the kernel makes the user namespace first, and the others need no capability outside: user_namespaces(7).
_NEWUSER = 0x1000_0000
# linux/socket.h: AF_INET, AF_INET6, AF_PACKET.
_INET = (2, 10)
_AF_PACKET = 17
# Q_QUOTAON, Q_QUOTAOFF, Q_SETINFO, Q_SETQUOTA of linux/quota.h; Q_XQUOTAON, Q_XQUOTAOFF, Q_XSETQLIM, Q_XQUOTARM of
# linux/dqblk_xfs.h.
_QUOTAS = (0x8000_0200, 0x8000_0300, 0x8000_0600, 0x8000_0800, 0x0058_0100, 0x0058_0200, 0x0058_0400, 0x0058_0600)

_NAMESPACE = "root of a user namespace may do it there"
_SAME = "becoming what one is already needs nothing"
_LOCKED = "within RLIMIT_MEMLOCK nothing is needed"

NEEDS: tuple[Need, ...] = (
    *_each("CAP_BPF", "bpf", note="kernel.unprivileged_bpf_disabled=0 allows some programs to everybody"),
    *_each(
        "CAP_CHOWN",
        "chown chown32 fchown fchown32 fchownat lchown lchown32",
        note="an owner may give a file to a group of its own",
    ),
    *_each("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    *_each("CAP_IPC_LOCK", "mlock mlock2 mlockall", note=_LOCKED),
    # MAP_LOCKED of asm/mman.h, as all but powerpc have it.
    *_each("CAP_IPC_LOCK", "mmap mmap2", _bits(3, 0x2000), note=_LOCKED),
    # SHM_LOCK of linux/shm.h, without IPC_64.
    *_each("CAP_IPC_LOCK", "shmctl", _equal(1, 11, mask=0xFF), note=_LOCKED),
    # S_IFCHR and S_IFBLK of linux/stat.h.
    *_each("CAP_MKNOD", "mknod", _equal(1, 0o020000, 0o060000, mask=0o170000)),
    *_each("CAP_MKNOD", "mknodat", _equal(2, 0o020000, 0o060000, mask=0o170000)),
    *_each("CAP_NET_RAW", "socket", _equal(0, _AF_PACKET), note=_NAMESPACE),
    # SOCK_RAW is for everybody with AF_NETLINK, whose protocol is 0 as a rule; with AF_INET it is never 0 (raw(7)),
    # and TCP and UDP are what sockets without it are made for.
    *_each(
        "CAP_NET_RAW",
        "socket",
        _equal(0, *_INET),
        _equal(1, 3, mask=0xF),
        Check(2, Test.OTHER, (0, 6, 17)),
        note=f"{_NAMESPACE}; raw netlink sockets need nothing",
    ),
    *_each("CAP_PERFMON", "perf_event_open", note="kernel.perf_event_paranoid may allow it to everybody"),
    *_each("CAP_SETGID", "setgid setgid32 setregid setregid32 setresgid setresgid32 setfsgid setfsgid32", note=_SAME),
    *_each("CAP_SETGID", "setgroups setgroups32", note=_NAMESPACE),
    # PR_CAPBSET_DROP and PR_SET_SECUREBITS of linux/prctl.h.
    *_each("CAP_SETPCAP", "prctl", _equal(0, 24, 28), note=_NAMESPACE),
    *_each("CAP_SETUID", "setuid setuid32 setreuid setreuid32 setresuid setresuid32 setfsuid setfsuid32", note=_SAME),
    *_each("CAP_SYSLOG", "syslog", _equal(0, 0, 1, 2, 4, 5, 6, 7, 8, 9)),
    *_each("CAP_SYSLOG", "syslog", _equal(0, 3, 10), note="with kernel.dmesg_restrict=0 nothing is needed"),
    *_each(
        "CAP_SYS_ADMIN",
        "mount umount umount2 pivot_root mount_setattr move_mount fsconfig fsmount fsopen fspick open_tree_attr setns"
        " sethostname setdomainname",
        note=_NAMESPACE,
    ),
    # OPEN_TREE_CLONE of linux/mount.h.
    *_each("CAP_SYS_ADMIN", "open_tree", _bits(2, 1), note=_NAMESPACE),
    *_each("CAP_SYS_ADMIN", "unshare clone3", _bits(0, *_NAMESPACES, _NEWTIME, unless=_NEWUSER), note=_NAMESPACE),
    *_each("CAP_SYS_ADMIN", "clone", _bits(0, *_NAMESPACES, unless=_NEWUSER), note=_NAMESPACE),
    *_each("CAP_SYS_ADMIN", "quotactl", _equal(0, *_QUOTAS, mask=0xFFFF_FF00)),
    *_each("CAP_SYS_ADMIN", "quotactl_fd", _equal(1, *_QUOTAS, mask=0xFFFF_FF00)),
    *_each("CAP_SYS_ADMIN", "swapon swapoff pciconfig_read pciconfig_write"),
    *_each("CAP_SYS_ADMIN", "fanotify_init", note="since Linux 5.13 some groups need nothing"),
    *_each(
        "CAP_SYS_BOOT", "reboot kexec_load kexec_file_load", note="reboot in a namespace of processes needs it there"
    ),
    *_each("CAP_SYS_CHROOT", "chroot", note=_NAMESPACE),
    *_each("CAP_SYS_MODULE", "init_module finit_module delete_module create_module"),
    # SCHED_FIFO, SCHED_RR and SCHED_DEADLINE of linux/sched.h, without SCHED_RESET_ON_FORK.
    *_each("CAP_SYS_NICE", "sched_setscheduler", _equal(1, 1, 2, 6, mask=0xFFFF), note="RLIMIT_RTPRIO allows some"),
    *_each("CAP_SYS_PACCT", "acct"),
    # PTRACE_ATTACH and PTRACE_SEIZE of linux/ptrace.h.
    *_each("CAP_SYS_PTRACE", "ptrace", _equal(0, 16, 0x4206), note="processes of the same user need nothing as a rule"),
    *_each(
        "CAP_SYS_PTRACE",
        "process_vm_readv process_vm_writev pidfd_getfd",
        note="processes of the same user need nothing as a rule",
    ),
    *_each("CAP_SYS_RAWIO", "ioperm iopl"),
    # PR_SET_MM of linux/prctl.h.
    *_each("CAP_SYS_RESOURCE", "prctl", _equal(0, 35), note="PR_SET_MM_MAP needs nothing"),
    *_each("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    *_each("CAP_SYS_TIME", "adjtimex clock_adjtime clock_adjtime64", note="reading needs nothing"),
    *_each("CAP_SYS_TTY_CONFIG", "vhangup"),
)

# Of Docker's and podman's default capabilities, those that no call shows, each with why.
_UNSEEN = {
    "CAP_AUDIT_WRITE": "what is sent to the kernel's audit socket is in memory",
    "CAP_DAC_OVERRIDE": "whether a file's permissions would have refused is decided at the file",
    "CAP_FOWNER": "whether the file is the caller's own is decided at the file",
    "CAP_FSETID": "whether a set-user-ID bit would have been cleared is decided at the file",
    "CAP_KILL": "whether the other process is of the same user is decided at the process",
    "CAP_SETFCAP": "which extended attribute is set is in memory",
}
UNSEEN: tuple[str, ...] = tuple(_UNSEEN)


def why_unseen(capability: str) -> str:
    """Why no call shows one of UNSEEN, as a sentence without a full stop.

    Raises:
        KeyError: it is none of them.
    """
    return _UNSEEN[capability]


@cache
def _by_call() -> dict[str, tuple[Need, ...]]:
    return {call: tuple(need for need in NEEDS if need.call == call) for call in {need.call for need in NEEDS}}


def needs_for(call: str, args: Mapping[int, frozenset[int]]) -> tuple[Need, ...]:
    """The rows that a call's success with these values shows, in the table's order; for their notes.

    Args:
        args: place of an argument, as most ABIs have it → values it was seen with, where they were kept.
    """
    return tuple(need for need in _by_call().get(call, ()) if need.shown_by(args))


def capability_for(call: str, args: Mapping[int, frozenset[int]]) -> frozenset[str]:
    """The capabilities that a call's success with these values shows to have been used, perhaps: see `needs_for`."""
    return frozenset(need.capability for need in needs_for(call, args))
