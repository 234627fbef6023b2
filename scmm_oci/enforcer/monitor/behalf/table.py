"""Which calls can be made on behalf, and what each of them asks for, in terms that all ABIs share. Pure."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from functools import cache

from scmm_oci.enforcer.monitor.model import OPEN_HOW, Call, Memory, signed
from scmm_oci.kernel import calls
from scmm_oci.kernel.calls import AT_FDCWD
from scmm_oci.tables.arch import NARROW, Arch, from_machine
from scmm_oci.tables.operations import (
    AT_EMPTY_PATH,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    FILE_CALLS,
    O_CREAT,
    O_PATH,
    O_TMPFILE_BIT,
    O_TRUNC,
)

_WORDS = """
open openat openat2 creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
mknod mknodat chmod fchmodat fchmodat2 chown lchown fchownat chown32 lchown32 truncate truncate64 connect bind
"""
#: By name, of every ABI.
CALLS = frozenset(_WORDS.split())

# asm-generic/fcntl.h: O_LARGEFILE, FASYNC, O_NOATIME. os.O_LARGEFILE is 0 where the library needs none.
_LARGEFILE = {"x86_64": 0o100000, "aarch64": 0o400000}
_OPEN_FLAGS = (
    os.O_ACCMODE | O_CREAT | os.O_EXCL | os.O_NOCTTY | O_TRUNC | os.O_APPEND | os.O_NONBLOCK | os.O_DSYNC | os.O_SYNC
    | os.O_ASYNC | os.O_DIRECT | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME | os.O_CLOEXEC | os.O_TMPFILE
)  # fmt: skip
_FLAGS_AT = {"open": 1, "openat": 2, "unlinkat": 2, "renameat2": 4, "linkat": 4, "fchmodat2": 3, "fchownat": 4}
_KNOWN = {
    "open": _OPEN_FLAGS,
    "openat": _OPEN_FLAGS,
    "unlinkat": AT_REMOVEDIR,
    "renameat2": 7,  # RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT: linux/fs.h
    "linkat": AT_SYMLINK_FOLLOW | AT_EMPTY_PATH,
    "fchmodat2": AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
    "fchownat": AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
}
# seccomp_unotify(2), SECCOMP_IOCTL_NOTIF_ADDFD: EBADF.
_NO_HANDLE = "the kernel hands over no descriptor with O_PATH"
_SCOPES = calls.BENEATH | calls.IN_ROOT
_RESOLVE = calls.NO_XDEV | calls.NO_MAGICLINKS | calls.NO_SYMLINKS | _SCOPES | calls.CACHED
# Their ids have 16 bits there (linux/highuid.h).
_OLD = ("chown", "lchown")
_PAGE = 4096
_MODE_BITS = 0o7777
_LOW = 0xFFFFFFFF


class Wrong(Exception):
    """The kernel would refuse the call for its arguments alone.

    Attributes:
        number: the errno.
    """

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


@dataclass(frozen=True, slots=True)
class Act:
    """A call, whatever its ABI and its age.

    Attributes:
        operation: open, mkdir, unlink, rename, link, symlink, mknod, chmod, chown, truncate, connect, bind.
        directories: of each name: a descriptor of the caller's, or AT_FDCWD.
        flags: O_… of open; AT_… or RENAME_… of others, as their newest call has them.
        numbers: what else there is: mode; mode and device; user and group; length, of an
            address too.
        resolve: of openat2.
        socket: the caller's descriptor.
        small: a file of 2 GiB or more must not be opened (an ABI of 32 bits without O_LARGEFILE).
    """

    operation: str
    directories: tuple[int, ...] = ()
    flags: int = 0
    numbers: tuple[int, ...] = ()
    resolve: int = 0
    socket: int = -1
    small: bool = False


def can(call: Call) -> bool:
    """Whether this call can be made on behalf on this machine: it is one of CALLS, and all its flags are known.

    Opens with O_PATH cannot: the kernel hands over no such descriptor.
    """
    if call.name not in CALLS or call.arch is None or call.arch not in _here():
        return False
    if call.arch in NARROW and call.name in _OLD:
        return False
    known = _KNOWN.get(call.name)
    return known is None or not call.args[_FLAGS_AT[call.name]] & _LOW & ~(known | _largefile())


@cache
def _here() -> frozenset[Arch]:
    own = from_machine(os.uname().machine)
    return frozenset((own, *own.beside))


@cache
def _largefile() -> int:
    return _LARGEFILE.get(os.uname().machine, 0)


def act_of(call: Call, memory: Memory) -> Act:
    """What the call asks for.

    Raises:
        Wrong: the kernel refuses such arguments.
        ValueError: `can` says no, or what openat2 was given is newer than what is known here.
    """
    if not can(call) or call.name is None:
        raise ValueError(f"{call.name or call.nr}, or with these flags, cannot be made on behalf")
    name, a = call.name, call.args
    directories = tuple(AT_FDCWD if at is None else signed(a[at]) for at, _, _ in FILE_CALLS[name].names)
    if name in ("open", "openat", "openat2", "creat"):
        return _open(call, memory, directories)
    if name in ("connect", "bind"):
        # net/socket.c, move_addr_to_kernel; less than a family is refused by each that we serve.
        if not 2 <= signed(a[2]) <= 128:
            raise Wrong(errno.EINVAL)
        return Act(name, numbers=(signed(a[2]),), socket=signed(a[0]))
    flags = a[_FLAGS_AT[name]] & _LOW if name in _FLAGS_AT else 0
    at = 1 if name.endswith(("at", "at2")) else 0
    if name.startswith("mkdir"):
        return Act("mkdir", directories, numbers=(a[1 + at] & 0xFFFF,))
    if name in ("rmdir", "unlink", "unlinkat"):
        return Act("unlink", directories, AT_REMOVEDIR if name == "rmdir" else flags)
    if name.startswith("rename"):
        return Act("rename", directories, flags)
    if name.startswith("link"):
        return Act("link", directories, flags)
    if name.startswith("symlink"):
        return Act("symlink", directories)
    if name.startswith("mknod"):
        return Act("mknod", directories, numbers=(a[1 + at] & 0xFFFF, a[2 + at] & _LOW))
    if name in ("chmod", "fchmodat", "fchmodat2"):
        return Act("chmod", directories, flags, (a[1 + at] & 0xFFFF,))
    if name in ("truncate", "truncate64"):
        if (length := _length(call)) < 0:
            raise Wrong(errno.EINVAL)
        return Act("truncate", directories, numbers=(length,))
    nofollow = AT_SYMLINK_NOFOLLOW if name.startswith("lchown") else 0
    return Act("chown", directories, flags | nofollow, (a[1 + at] & _LOW, a[2 + at] & _LOW))


def _open(call: Call, memory: Memory, directories: tuple[int, ...]) -> Act:
    name, a = call.name, call.args
    resolve = 0
    if name == "openat2":
        flags, mode, resolve = _how(a[3], memory.how)
    elif name == "creat":
        flags, mode = O_CREAT | os.O_WRONLY | O_TRUNC, a[1] & _MODE_BITS
    else:
        at = 1 if name == "open" else 2
        flags, mode = a[at] & _LOW, a[at + 1] & _MODE_BITS
    wanted = flags & (os.O_DIRECTORY | O_CREAT)
    if flags & O_TMPFILE_BIT:
        # fs/open.c, build_open_flags
        if not flags & os.O_DIRECTORY or flags & O_CREAT or flags & os.O_ACCMODE not in (os.O_WRONLY, os.O_RDWR):
            raise Wrong(errno.EINVAL)
    elif wanted == os.O_DIRECTORY | O_CREAT:
        raise ValueError("O_CREAT with O_DIRECTORY means one thing before Linux 6.4 and another since")
    small = call.arch in NARROW and not flags & _largefile()
    return Act("open", directories, flags, (mode if flags & (O_CREAT | O_TMPFILE_BIT) else 0,), resolve, small=small)


def _how(size: int, how: bytes) -> tuple[int, int, int]:
    if size < OPEN_HOW.size:
        raise Wrong(errno.EINVAL)
    if size > _PAGE:
        raise Wrong(errno.E2BIG)
    if len(how) < size:
        raise Wrong(errno.EFAULT)
    if any(how[OPEN_HOW.size : size]):
        raise ValueError("its struct open_how has more than is known")
    flags, mode, resolve = OPEN_HOW.unpack_from(how)
    known = _OPEN_FLAGS | _largefile()
    if flags & O_PATH:
        raise ValueError(_NO_HANDLE)
    if flags & ~known or resolve & ~_RESOLVE:
        raise ValueError("its struct open_how has flags that are not known")
    creates = flags & (O_CREAT | O_TMPFILE_BIT)
    if mode & ~_MODE_BITS or (mode and not creates) or resolve & _SCOPES == _SCOPES:
        raise Wrong(errno.EINVAL)
    if resolve & calls.CACHED:
        raise Wrong(errno.EAGAIN)  # nothing is cached: who asks for that asks again without
    return flags, mode, resolve


def _length(call: Call) -> int:
    if call.arch not in NARROW:
        return signed(call.args[1], 64)
    if call.name == "truncate":
        return signed(call.args[1])
    low = 1 if call.arch is Arch.X86 else 2  # arm puts a pair into registers of even number
    return signed(call.args[low] & _LOW | (call.args[low + 1] & _LOW) << 32, 64)
