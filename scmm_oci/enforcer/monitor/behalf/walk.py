"""One name on its way, component by component, with links followed here. Called by lookup."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from scmm_oci.enforcer.monitor.behalf.found import Found, Nowhere, is_in
from scmm_oci.enforcer.monitor.behalf.identity import OVERFLOW, Impossible
from scmm_oci.enforcer.monitor.behalf.procfs import CLOSED, PROC_SUPER_MAGIC, ROOT_INO, is_harmless, is_of, is_ours
from scmm_oci.kernel import calls, identity
from scmm_oci.kernel.calls import file_of, kind_of_filesystem, open_at

if TYPE_CHECKING:
    from scmm_oci.enforcer.monitor.behalf.lookup import Lookup

_MOST_LINKS = 40  # linux/namei.h, MAXSYMLINKS
_ST_NOSYMFOLLOW = 0x2000  # linux/statfs.h
_HELD = os.O_PATH | os.O_CLOEXEC
# Failures of the deputy's, and not of what the thread asked for.
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSYS, errno.EINTR, errno.EAGAIN, errno.EINVAL, errno.EBADF)


class Walk:
    """One name on its way. `here` is held, and so far the name has led there."""

    def __init__(self, lookup: Lookup, start: int, text: bytes, resolve: int) -> None:
        self._lookup, self._resolve = lookup, resolve
        self._links = 0
        self._slash = False
        self._names: deque[bytes] = deque()
        self._passed: set[int] = set()
        self._root = lookup.root
        self._base = start
        if resolve & (calls.BENEATH | calls.IN_ROOT | calls.NO_XDEV):
            self._base = start if not text.startswith(b"/") or resolve & calls.IN_ROOT else lookup.root
            if resolve & calls.BENEATH and text.startswith(b"/"):
                self._fail(errno.EXDEV, text)
            if self._base < 0:
                raise Nowhere(-self._base, text)
            self._mount = file_of(self._base).mount
        self.here = start
        self._take(text)

    def to_place(self) -> Found:
        """The directory that holds it, and its name there, whatever that is."""
        name = self._down()
        if not stat.S_ISDIR(os.fstat(self.here).st_mode):
            self._fail(errno.ENOTDIR, name)
        return Found(self._joined(name), self.here, name + b"/" if self._slash and name != b"/" else name, None)

    def to_file(self, *, follow: bool) -> Found:
        """The same, and what is there."""
        while True:
            name = self._down()
            place = name + b"/" if self._slash and name != b"/" else name
            if name in (b"/", b".", b".."):
                file = self.here if name == b"/" else self._step(name)
                return Found(self._settled(file), self.here, place, file)
            try:
                file = open_at(self.here, name, _HELD | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    self._fail(error.errno, name)
                return Found(self._joined(name), self.here, place, None)
            mode = os.fstat(file).st_mode
            if not stat.S_ISLNK(mode):
                if self._slash and not stat.S_ISDIR(mode):
                    self._fail(errno.ENOTDIR, name)
                if stat.S_ISDIR(mode):
                    os.close(file)
                    file = self._step(name)  # what is mounted there when somebody looks is mounted now
                self._stays(file, name)
                return Found(self._settled(file, name), self.here, place, file)
            if not follow and not self._slash:
                return Found(self._joined(name), self.here, place, file)
            jumped = self._follow(file, name)
            if jumped is not None:
                return jumped

    def _take(self, text: bytes) -> None:
        """Put a name, or what a link says, before what is left of it."""
        if not text:
            self._fail(errno.ENOENT, b"")
        if not self._names:
            self._slash = self._slash or text.endswith(b"/")
        self._names.extendleft(reversed([one for one in text.split(b"/") if one]))
        if text.startswith(b"/"):
            if self._resolve & calls.BENEATH:
                self._fail(errno.EXDEV, text)
            self._go(self._base if self._resolve & calls.IN_ROOT else self._root)
            self._stays(self.here, b"/")

    def _down(self) -> bytes:
        """Go to the directory of the last component, and say that; "/" if there is none."""
        while len(self._names) > 1:
            name = self._names.popleft()
            try:
                self._go(self._step(name))
            except _Link as link:
                jumped = self._follow(link.file, name)
                if jumped is not None:
                    self._go(_given(jumped.file))
        return self._names.popleft() if self._names else b"/"

    def _go(self, fd: int) -> None:
        """Be there, and let go of where it was if nobody else holds that: a name can have 2,000 components."""
        left, self.here = self.here, fd
        if left in self._passed and left != fd:
            self._passed.remove(left)
            os.close(left)
        if fd not in (self._root, self._base):
            self._passed.add(fd)

    def _step(self, name: bytes) -> int:
        """The directory of this name in `here`. Raises _Link if it is a link."""
        scoped = self._resolve & (calls.BENEATH | calls.IN_ROOT)
        if name == b".." and scoped and file_of(self.here) == file_of(self._base):
            if self._resolve & calls.BENEATH:
                self._fail(errno.EXDEV, name)
            return self._base
        for _ in range(_MOST_LINKS):
            try:
                found = open_at(self.here, name, _HELD | os.O_DIRECTORY, resolve=calls.NO_SYMLINKS)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    self._fail(error.errno, name)
            else:
                self._stays(found, name)
                return found
            try:
                link = open_at(self.here, name, _HELD | os.O_NOFOLLOW)
            except OSError as error:
                self._fail(error.errno, name)
            if stat.S_ISLNK(os.fstat(link).st_mode):
                raise _Link(link)
            os.close(link)  # it has been replaced meanwhile
        raise Impossible("a name changes all the time")

    def _stays(self, fd: int, name: bytes) -> None:
        if self._resolve & calls.NO_XDEV and file_of(fd).mount != self._mount:
            self._fail(errno.EXDEV, name)

    def _follow(self, link: int, name: bytes) -> Found | None:
        """Take what a link says for what is left of the name; a link of /proc is gone through, and what it led to
        returned."""
        self._links += 1
        if self._links > _MOST_LINKS or self._resolve & calls.NO_SYMLINKS:
            self._fail(errno.ELOOP, name)
        if os.fstatvfs(link).f_flag & _ST_NOSYMFOLLOW:
            self._fail(errno.ELOOP, name)
        if kind_of_filesystem(link) == PROC_SUPER_MAGIC:
            if os.fstat(self.here).st_ino != ROOT_INO:
                return self._through(link, name)
            text = self._translated(name) or os.readlink(b"", dir_fd=link)
        else:
            self._may_follow(link)
            text = os.readlink(b"", dir_fd=link)
        os.close(link)
        self._take(text)
        return None

    def _may_follow(self, link: int) -> None:
        """fs/namei.c, may_follow_link: what is a sysctl of the machine's there holds always here."""
        above, its = os.fstat(self.here), os.fstat(link)
        mine = identity.ids()[0][3]
        if above.st_mode & 0o1002 == 0o1002 and its.st_uid not in {above.st_uid, mine} - {OVERFLOW}:
            raise Impossible("a link of another user's in a directory that all can write to")

    def _translated(self, name: bytes) -> bytes | None:
        """What /proc/self and /proc/thread-self say to the thread, in the namespace of this procfs."""
        if name not in (b"self", b"thread-self"):
            return None
        who = self._lookup.who
        for depth in reversed(range(len(who.groups_of))):
            if self._is_in_view(who.groups_of[depth:]):
                process, thread = who.groups_of[depth], who.threads_of[depth]
                return b"%d" % process if name == b"self" else b"%d/task/%d" % (process, thread)
        raise Impossible("/proc/self is of a namespace in which it cannot be told")

    def _is_in_view(self, numbers: tuple[int, ...]) -> bool:
        """Whether this procfs has a process with these numbers, from its own namespace inwards."""
        try:
            fd = open_at(self.here, b"%d/status" % numbers[0], os.O_RDONLY)
            with os.fdopen(fd, "rb") as file:
                told = next(line for line in file if line.startswith(b"NStgid:"))
        except (OSError, StopIteration):
            return False
        return tuple(map(int, told.split()[1:])) == numbers

    def _through(self, link: int, name: bytes) -> Found | None:
        """Where a link of a process's directory in /proc leads: to an open file, and not to a name.

        A file that a path in this root leads to is that file. Of others, pipes and terminals only are let through,
        under their name in /proc.
        """
        if is_ours(self.here):
            raise Impossible("a name leads into what makes the call")
        if self._resolve & calls.NO_MAGICLINKS:
            self._fail(errno.ELOOP, name)
        if self._resolve & (calls.BENEATH | calls.IN_ROOT):
            self._fail(errno.EXDEV, name)
        if self._resolve:
            raise Impossible("a link of /proc, and RESOLVE_NO_XDEV")
        try:
            probe = open_at(self.here, name, _HELD, resolve=calls.NO_MAGICLINKS)
        except OSError as error:
            if error.errno != errno.ELOOP:
                self._fail(error.errno, name)
        else:
            os.close(probe)  # a link with a text, such as /proc/fs has
            self._take(os.readlink(b"", dir_fd=link))
            return None
        try:
            file = open_at(self.here, name, _HELD)
        except OSError as error:
            self._fail(error.errno, name)
        status = os.fstat(file)
        if (self._slash or self._names) and not stat.S_ISDIR(status.st_mode):
            self._fail(errno.ENOTDIR, name)
        try:
            path = self._lookup.path_of(file)
        except Impossible:
            if not stat.S_ISFIFO(status.st_mode) and not is_harmless(status):
                raise
            path = self._joined(name)
        return Found(path, -1, b"", file)

    def _settled(self, file: int, name: bytes | None = None) -> bytes:
        """The path of what was found, when it is no part of the deputy in /proc, nor outside of where it has to be."""
        directory = file if stat.S_ISDIR(os.fstat(file).st_mode) else self.here
        if is_ours(directory):
            raise Impossible("a name leads into what makes the call")
        return self._real(file) if name is None or directory == file else self._joined(name)

    def _joined(self, name: bytes) -> bytes:
        """The path of a name in `here`."""
        if is_ours(self.here):
            raise Impossible("a name leads into what makes the call")
        above = self._real(self.here)
        if name == b"..":
            return above.rpartition(b"/")[0] or b"/"
        return above if name in (b"/", b".") else above.rstrip(b"/") + b"/" + name

    def _real(self, fd: int) -> bytes:
        path = self._lookup.path_of(fd)
        if self._resolve & (calls.BENEATH | calls.IN_ROOT) and not is_in(path, self._lookup.path_of(self._base)):
            raise Impossible("directories move while a name is looked up")
        return path

    def _fail(self, number: int | None, name: bytes) -> NoReturn:
        if number is None or number in _OURS:
            raise Impossible(f"a name cannot be looked up: {os.strerror(number or errno.EIO)}")
        if number in (errno.EACCES, errno.EPERM) and is_of(self.here, self._lookup.who.groups_of[-1]):
            raise Impossible(CLOSED)
        raise Nowhere(number, name)


def _given(file: int | None) -> int:
    assert file is not None
    return file


class _Link(Exception):
    def __init__(self, file: int) -> None:
        super().__init__()
        self.file = file
