"""In a deputy: what the thread is whose call it makes, read from /proc, and becoming just that.

Everything is read, and held, before `deputy` asks whether the call still waits: then it was the thread's.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scmm_oci.kernel import identity
from scmm_oci.kernel.calls import AT_FDCWD, file_of
from scmm_oci.kernel.capabilities import SETGID, SETPCAP, SETUID, SYS_ADMIN, SYS_CHROOT

# Of namespaces (namespaces(7)), those that a file system or a check looks at in who opens or looks up. `mnt` comes last
# of them, as it takes /proc away; that of process ids is not joined: walk.py translates /proc/self.
_JOINED = {"cgroup": 0x02000000, "ipc": 0x08000000, "uts": 0x04000000, "net": 0x40000000, "mnt": 0x00020000}
_USER = 0x10000000
_ALL_IDS = 0xFFFFFFFF
OVERFLOW = 65534  # what an id is told as that has no number in our user namespace
_NEEDED = sum(1 << one for one in (SETUID, SETGID, SETPCAP, SYS_CHROOT, SYS_ADMIN))


class Impossible(Exception):
    """The call cannot be made just as the thread would have made it; the text says why."""


@dataclass(frozen=True, slots=True)
class Who:
    """A thread as status(5) of proc has it: ids in our user namespace, capabilities in its own.

    Attributes:
        uids, gids: real, effective, saved, of the file system.
        groups_of, threads_of: the numbers of process and thread in each PID namespace, from ours inwards.
    """

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    umask: int
    capabilities: int
    groups_of: tuple[int, ...]
    threads_of: tuple[int, ...]


class Own:
    """What the zygote has, and so each of its deputies before it becomes another."""

    def __init__(self) -> None:
        self.capabilities, _ = identity.capabilities()
        self.uids, self.gids = identity.ids()
        self.groups = tuple(sorted(os.getgroups()))
        self.is_everybody = _spans(_read("/proc/self/uid_map")) and _spans(_read("/proc/self/gid_map"))
        self.namespaces = {name: _identity(os.stat(f"/proc/self/ns/{name}")) for name in (*_JOINED, "user", "pid")}


class Reading:
    """A thread, as it is while its call waits.

    Attributes:
        who: its ids and capabilities.
        root, here: O_PATH descriptors of its root and current directory.
        directories: of its descriptors → O_PATH descriptors of ours, or the errno that each has for it.
        socket: a descriptor of the same open socket, or minus the errno that the thread gets.
        same_pids: it is in our PID namespace.
        same_cgroup: it is in our control groups.
    """

    def __init__(self, tid: int, own: Own, *, directories: Iterable[int], socket: int = -1) -> None:
        """Raises Impossible."""
        if tid <= 0:
            raise Impossible("its thread is in no PID namespace that is seen from here")
        self._own = own
        try:
            # Of this thread for ever: not of the next one that has its number.
            self._proc = os.open(f"/proc/{tid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.who = _who(self._text("status"))
            self._limit = _file_size(self._text("limits"))
            self._namespaces = self._differing()
            self._strong = own.capabilities & _NEEDED == _NEEDED
            if "user" in self._namespaces and not self._strong:
                self._uid_map, self._gid_map = self._text("uid_map"), self._text("gid_map")
            self.root, self.here = self._hold("root"), self._hold("cwd")
            self.same_pids = self._is_same("pid")
            self.same_cgroup = self._text("cgroup") == _read("/proc/self/cgroup")
            self.directories = {fd: self._directory(fd) for fd in directories if fd != AT_FDCWD}
            self.socket = self._socket(tid, socket)
        except OSError as error:
            raise Impossible(f"its thread cannot be looked at: {error.strerror}") from None

    def _text(self, name: str) -> str:
        return _all_of(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc))

    def _hold(self, name: str) -> int:
        return os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=self._proc)

    def _is_same(self, name: str) -> bool:
        return _identity(os.stat(f"ns/{name}", dir_fd=self._proc)) == self._own.namespaces[name]

    def _differing(self) -> Mapping[str, int]:
        return {
            name: os.open(f"ns/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
            for name in (*_JOINED, "user")
            if not self._is_same(name)
        }

    def _directory(self, fd: int) -> int:
        """Ours for one of its descriptors, or minus the errno that it gets."""
        if fd < 0:
            return -errno.EBADF
        try:
            return self._hold(f"fd/{fd}")
        except FileNotFoundError:
            return -errno.EBADF

    def _socket(self, tid: int, fd: int) -> int:
        if fd < 0:
            return -errno.EBADF
        try:
            text = os.readlink(f"fd/{fd}", dir_fd=self._proc)
        except FileNotFoundError:
            return -errno.EBADF
        if not text.startswith("socket:["):
            return -errno.ENOTSOCK
        return identity.socket_of(tid, fd, int(text.removeprefix("socket:[").removesuffix("]")))

    def enter(self) -> None:
        """Go where the thread is: namespaces and root. What this process may do is not less yet.

        Raises:
            Impossible: this process has not the right to.
        """
        try:
            if "user" in self._namespaces and not self._strong:
                # Its owner has every capability in it, and may not have them here (user_namespaces(7)).
                identity.join(self._namespaces["user"], _USER)
            for name, kind in _JOINED.items():
                if name in self._namespaces:
                    identity.join(self._namespaces[name], kind)
            if file_of(self.root) != self._root_now():
                os.fchdir(self.root)
                os.chroot(".")
            os.fchdir(self.root)
        except OSError as error:
            raise Impossible(f"its namespaces or root cannot be entered: {error.strerror}") from None

    @staticmethod
    def _root_now() -> object:
        fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
        try:
            return file_of(fd)
        finally:
            os.close(fd)

    def become(self, zygote: int) -> None:
        """Have the thread's ids, groups, capabilities, umask and limit on file sizes, and nothing beyond.

        Raises:
            Impossible: this process cannot be that.
        """
        who, own, strong = self.who, self._own, self._strong
        try:
            uids, gids, groups = who.uids, who.gids, tuple(sorted(who.groups))
            if not own.is_everybody and OVERFLOW in (*uids, *gids, *groups):
                raise Impossible("some of its ids have no number here")
            if not strong:
                if "user" in self._namespaces:
                    uids, gids, groups = self._inner(uids, gids, groups)
                elif (uids, gids, groups) != (own.uids, own.gids, own.groups):
                    raise Impossible("it has other ids, and this monitor may not take them on")
            if strong or "user" in self._namespaces:
                if tuple(sorted(os.getgroups())) != groups:
                    identity.set_groups(groups)
                identity.set_ids(uids, gids)
                identity.close_to_others()
            if identity.ids() != (uids, gids) or tuple(sorted(os.getgroups())) != groups:
                raise Impossible("its ids could not be taken on")
            if strong and "user" in self._namespaces:
                identity.join(self._namespaces["user"], _USER)
                identity.close_to_others()
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._limit, self._limit if strong else hard))
            os.umask(who.umask)
            identity.gain_nothing_more()
            identity.set_capabilities(who.capabilities)
            identity.close_to_others()
            identity.die_with_parent(zygote)
            if identity.capabilities() != (who.capabilities, who.capabilities):
                raise Impossible("its capabilities could not be taken on")
        except (OSError, ValueError) as error:
            raise Impossible(f"its identity cannot be taken on: {error}") from None

    def _inner(
        self, uids: tuple[int, ...], gids: tuple[int, ...], groups: tuple[int, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The ids as its user namespace has them. Groups that we have already need no number there."""
        if groups == self._own.groups:
            groups = tuple(sorted(os.getgroups()))
        else:
            groups = tuple(sorted(_mapped(self._gid_map, one) for one in groups))
        return (
            tuple(_mapped(self._uid_map, one) for one in uids),
            tuple(_mapped(self._gid_map, one) for one in gids),
            groups,
        )


def _read(path: str) -> str:
    return _all_of(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _all_of(fd: int) -> str:
    pieces = []
    try:
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
    finally:
        os.close(fd)
    return b"".join(pieces).decode("utf-8", "surrogateescape")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _spans(text: str) -> bool:
    return [line.split() for line in text.splitlines()] == [["0", "0", str(_ALL_IDS)]]


def _mapped(text: str, outer: int) -> int:
    """The number inside of an id that is `outer` here, by uid_map or gid_map as it is read from here."""
    for line in text.splitlines():
        inside, outside, count = map(int, line.split())
        if outside <= outer < outside + count:
            return inside + outer - outside
    raise Impossible(f"the id {outer} has no number in its user namespace")


def _file_size(text: str) -> int:
    for line in text.splitlines():
        if line.startswith("Max file size"):
            word = line.removeprefix("Max file size").split()[0]
            return resource.RLIM_INFINITY if word == "unlimited" else int(word)
    raise Impossible("its limit on file sizes is not known")


def _who(text: str) -> Who:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        fields.setdefault(key, rest)  # the first is Name, in which the kernel escapes the ends of lines
    try:
        return Who(
            uids=_numbers(fields["Uid"]),
            gids=_numbers(fields["Gid"]),
            groups=_numbers(fields["Groups"]),
            umask=int(fields["Umask"], 8),
            capabilities=int(fields["CapEff"], 16),
            groups_of=_numbers(fields["NStgid"]),
            threads_of=_numbers(fields["NSpid"]),
        )
    except (KeyError, ValueError):
        raise Impossible("its thread has ended") from None  # a status without memory has no Umask


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))
