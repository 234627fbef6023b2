"""In a deputy that has become the thread's equal: the call, made with what was found.

What exists and was followed to is named by the deputy's own descriptor in its own /proc/self/fd, all else by a held
directory and a last component that the kernel does not follow. So nothing that is swapped meanwhile leads elsewhere.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scmm_oci.enforcer.monitor.addresses import UNIX_SIZE, unix_path
from scmm_oci.enforcer.monitor.behalf.found import Found, Nowhere
from scmm_oci.enforcer.monitor.behalf.identity import Impossible, Reading
from scmm_oci.enforcer.monitor.behalf.lookup import Lookup
from scmm_oci.enforcer.monitor.behalf.procfs import CLOSED, PROC_SUPER_MAGIC, is_harmless, is_of, process_at
from scmm_oci.enforcer.monitor.behalf.table import Act
from scmm_oci.kernel.calls import AT_FDCWD, call, kind_of_filesystem
from scmm_oci.tables.operations import (
    AT_EMPTY_PATH,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    O_CREAT,
    O_TMPFILE_BIT,
    O_TRUNC,
)

_SO_DOMAIN = 39  # asm-generic/socket.h
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
_OWN_TERMINAL = (5, 0)
_MOST_SMALL = 0x7FFFFFFF  # linux/fs.h, MAX_NON_LFS
_SLOT = b"%d"


@dataclass(frozen=True, slots=True)
class Done:
    """What the call returned: a number, or for opens our descriptor."""

    value: int
    fd: int | None = None


class Acting:
    """One call of one thread."""

    def __init__(self, act: Act, reading: Reading, lookup: Lookup, *, own: int, raw: bytes, text: bytes | None) -> None:
        """own: O_PATH of /proc/self/fd; raw: the socket address; text: what a symbolic link is to say."""
        self._act, self._reading, self._lookup, self._own = act, reading, lookup, own
        self._raw, self._text = raw, text

    def find(self, names: Sequence[bytes | None]) -> list[Found]:
        """What the call's names stand for; of a UNIX socket's address, that one's. The names are the call's own.

        Raises:
            Nowhere: the call fails.
            Impossible: it cannot be made just so.
        """
        act = self._act
        if act.operation in ("connect", "bind"):
            return self._find_socket()
        if act.operation == "symlink" and self._text is None:
            raise Nowhere(errno.EFAULT, b"")
        found = []
        for index, (directory, name) in enumerate(zip(act.directories, names, strict=True)):
            if name is None:
                raise Nowhere(errno.EFAULT, b"")
            start = self._reading.here if directory == AT_FDCWD else self._reading.directories[directory]
            found.append(self._find(index, start, name))
        return found

    def find_instead(self, name: bytes) -> list[Found]:
        """The same for a call with one name, with this one. Raises as `find`."""
        act = self._act
        if act.operation in ("connect", "bind"):
            path = unix_path(self._raw)
            if path is None or len(name) > UNIX_SIZE - 3:
                raise Impossible("its address is no path, or the other path is too long for one")
            self._raw = self._raw[:2] + name + b"\0"
            return self._find_socket()
        if len(act.directories) != 1:
            raise Impossible("a call with two names is not made with one other")
        start = self._reading.here if act.directories[0] == AT_FDCWD else self._reading.directories[act.directories[0]]
        return [self._find(0, start, name)]

    def _find(self, index: int, start: int, name: bytes) -> Found:
        act = self._act
        flags = act.flags
        empty = bool(flags & AT_EMPTY_PATH) and act.operation in ("chmod", "chown", "link") and index == 0
        follow, file = False, False
        if act.operation == "open":
            file = True
            follow = not flags & os.O_NOFOLLOW and flags & (O_CREAT | os.O_EXCL) != O_CREAT | os.O_EXCL
        elif act.operation in ("chmod", "chown"):
            follow, file = not flags & AT_SYMLINK_NOFOLLOW, True
        elif act.operation == "truncate" or (act.operation == "link" and index == 0 and flags & AT_SYMLINK_FOLLOW):
            follow, file = True, True
        if empty and not name and act.operation == "link":
            raise Impossible("to link an open file takes whoever opened it")
        found = self._lookup.find(start, name, follow=follow, file=file, resolve=act.resolve, empty=empty)
        if file and found.file is None and not (act.operation == "open" and self._creates()):
            raise Nowhere(errno.ENOENT, found.path)
        return found

    def _creates(self) -> bool:
        return bool(self._act.flags & O_CREAT)

    def _find_socket(self) -> list[Found]:
        act, raw = self._act, self._raw
        if self._reading.socket < 0:
            raise Nowhere(-self._reading.socket, b"")
        with socket.socket(fileno=os.dup(self._reading.socket)) as opened:
            domain = opened.getsockopt(socket.SOL_SOCKET, _SO_DOMAIN)
        if domain not in _FAMILIES:
            raise Impossible("of sockets, those of UNIX and the internet are served")
        name = unix_path(raw)
        if domain != socket.AF_UNIX or name is None:
            return []
        if len(raw) > UNIX_SIZE:
            raise Nowhere(errno.EINVAL, b"")
        wants = act.operation == "connect"
        found = self._lookup.find(self._reading.here, name, follow=wants, file=wants)
        if wants and found.file is None:
            raise Nowhere(errno.ENOENT, found.path)
        return [found]

    def make(self, found: Sequence[Found]) -> Done:
        """Make the call.

        Raises:
            OSError: it failed; errno is the thread's.
            Impossible: it cannot be made just so, or what was found is another by now.
        """
        return _MADE[self._act.operation](self, found)

    def _open(self, found: Sequence[Found]) -> Done:
        one, flags, mode = found[0], self._act.flags, self._act.numbers[0]
        status = os.fstat(one.file) if one.file is not None else None
        if flags & O_CREAT and one.parent >= 0:
            return Done(0, self._create(one, flags, mode, status))
        if one.file is None or status is None:
            raise OSError(errno.ENOENT, "")
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ENOTDIR if flags & os.O_DIRECTORY else errno.ELOOP, "")
        if flags & O_CREAT and stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, "")
        self._check(one, status)
        plain = flags & ~(os.O_NOFOLLOW | O_CREAT | os.O_EXCL if not flags & O_TMPFILE_BIT else os.O_NOFOLLOW)
        try:
            return Done(0, call("openat", self._own, _SLOT % one.file, plain | os.O_CLOEXEC, mode))
        except OSError as error:
            self._is_ours_to_fail(one, error)
            raise

    def _create(self, one: Found, flags: int, mode: int, status: os.stat_result | None) -> int:
        if status is not None and not stat.S_ISLNK(status.st_mode):
            self._check(one, status)
        try:
            fd = call("openat", one.parent, one.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        except OSError as error:
            if error.errno == errno.ELOOP and not flags & os.O_NOFOLLOW:
                raise Impossible("what was looked at has been replaced by a link") from None
            self._is_ours_to_fail(one, error)
            raise
        try:
            # What is there can be another file by now, under the same name: not one that would not have been opened.
            self._check(one, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _is_ours_to_fail(self, one: Found, error: OSError) -> None:
        """The kernel lets a process look at itself, whoever it is. Raises Impossible where that can be the reason."""
        own = self._reading.who.groups_of[-1]
        if error.errno in (errno.EACCES, errno.EPERM) and one.parent >= 0 and is_of(one.parent, own):
            raise Impossible(CLOSED) from None

    def _check(self, one: Found, status: os.stat_result) -> None:
        """Raises Impossible for what opening would give more of than the thread may have, or something else."""
        flags, reading = self._act.flags, self._reading
        if self._act.small and stat.S_ISREG(status.st_mode) and status.st_size > _MOST_SMALL:
            raise OSError(errno.EOVERFLOW, "")
        if stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            if stat.S_ISCHR(status.st_mode) and device == _OWN_TERMINAL:
                raise Impossible("/dev/tty is another terminal for whoever opens it")
            if not is_harmless(status) and not reading.same_cgroup:
                raise Impossible("its control group says which devices it may open, and not the monitor's")
        writes = flags & (os.O_ACCMODE | O_TRUNC)
        is_proc = one.parent >= 0 and kind_of_filesystem(one.parent) == PROC_SUPER_MAGIC
        if writes and is_proc and not reading.same_pids and not process_at(one.parent):
            raise Impossible("what is written to /proc can mean the writer's PID namespace")

    def _mkdir(self, found: Sequence[Found]) -> Done:
        return Done(call("mkdirat", found[0].parent, found[0].name, *self._act.numbers))

    def _unlink(self, found: Sequence[Found]) -> Done:
        return Done(call("unlinkat", found[0].parent, found[0].name, self._act.flags))

    def _rename(self, found: Sequence[Found]) -> Done:
        old, new = found
        return Done(call("renameat2", old.parent, old.name, new.parent, new.name, self._act.flags))

    def _link(self, found: Sequence[Found]) -> Done:
        old, new = found
        if old.file is not None:
            slot = _SLOT % old.file
            return Done(call("linkat", self._own, slot, new.parent, new.name, AT_SYMLINK_FOLLOW))
        return Done(call("linkat", old.parent, old.name, new.parent, new.name, 0))

    def _symlink(self, found: Sequence[Found]) -> Done:
        return Done(call("symlinkat", self._text or b"", found[0].parent, found[0].name))

    def _mknod(self, found: Sequence[Found]) -> Done:
        mode, device = self._act.numbers
        kind = stat.S_IFMT(mode)
        is_whiteout = kind == stat.S_IFCHR and device == 0
        if kind in (stat.S_IFCHR, stat.S_IFBLK) and not is_whiteout and not self._reading.same_cgroup:
            raise Impossible("its control group says which devices it may make, and not the monitor's")
        return Done(call("mknodat", found[0].parent, found[0].name, mode, device))

    def _chmod(self, found: Sequence[Found]) -> Done:
        one, (mode,) = found[0], self._act.numbers
        if self._act.flags & AT_SYMLINK_NOFOLLOW and not one.descriptor:
            return Done(call("fchmodat2", one.parent, one.name, mode, AT_SYMLINK_NOFOLLOW))
        return Done(call("fchmodat", self._own, _SLOT % _given(one.file), mode))

    def _chown(self, found: Sequence[Found]) -> Done:
        one, (user, group) = found[0], self._act.numbers
        if self._act.flags & AT_SYMLINK_NOFOLLOW and not one.descriptor:
            return Done(call("fchownat", one.parent, one.name, user, group, AT_SYMLINK_NOFOLLOW))
        return Done(call("fchownat", _given(one.file), b"", user, group, AT_EMPTY_PATH))

    def _truncate(self, found: Sequence[Found]) -> Done:
        os.fchdir(self._own)  # truncate(2) takes no directory
        return Done(call("truncate", _SLOT % _given(found[0].file), self._act.numbers[0]))

    def _connect(self, found: Sequence[Found]) -> Done:
        raw = self._whole()
        if found:
            os.fchdir(self._own)
            raw = raw[:2] + _SLOT % _given(found[0].file) + b"\0"
        return Done(call("connect", self._reading.socket, raw, len(raw)))

    def _bind(self, found: Sequence[Found]) -> Done:
        raw = self._whole()
        if found:
            os.fchdir(found[0].parent)
            raw = raw[:2] + found[0].name + b"\0"
        return Done(call("bind", self._reading.socket, raw, len(raw)))

    def _whole(self) -> bytes:
        if len(self._raw) < self._act.numbers[0] and not unix_path(self._raw):
            raise OSError(errno.EFAULT, "")
        return self._raw


def _given(file: int | None) -> int:
    if file is None:
        raise OSError(errno.ENOENT, "")
    return file


_MADE: Mapping[str, Callable[[Acting, Sequence[Found]], Done]] = {
    "open": Acting._open,
    "mkdir": Acting._mkdir,
    "unlink": Acting._unlink,
    "rename": Acting._rename,
    "link": Acting._link,
    "symlink": Acting._symlink,
    "mknod": Acting._mknod,
    "chmod": Acting._chmod,
    "chown": Acting._chown,
    "truncate": Acting._truncate,
    "connect": Acting._connect,
    "bind": Acting._bind,
}
