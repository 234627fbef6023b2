"""Ask the kernel which file a name is: by opening it, not by our recorder's way of looking names up.

What a program file says of how it is executed ("#!" and the ELF interpreter) is read here too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import lru_cache

_OWN = ("/proc/self/", "/proc/thread-self/")
_NR_OPENAT2, _RESOLVE_IN_ROOT = 437, 0x10  # the same on every architecture; linux/openat2.h
_libc = ctypes.CDLL(None, use_errno=True)


class Names:
    """Names as a process has them.

    root: its root directory, which may be one of another mount namespace. cwd: where relative names in its files begin.
    jail: a directory that processes have made their root: names below it are only used by those.
    """

    def __init__(self, *, root: str = "/", cwd: str = "/", jail: str | None = None) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._cwd = cwd
        self._jail = jail
        self._real = lru_cache(None)(self._look)

    def real(self, path: str, *, follow: bool) -> tuple[str, str]:
        """(path, state) of the file that a name leads to; of what is not there, the directory's and the name's rest.

        A process's own directory in procfs is gone with it; links there that lead elsewhere have nowhere to lead.
        """
        if path.startswith(_OWN):
            return path, "named" if path.split("/")[3] in ("fd", "cwd", "exe", "root") else "resolved"
        return self._real(path, follow)

    def interpreters(self, path: str) -> list[tuple[str, str]]:
        """(path, word) of each interpreter on the way from a script to a program that is none."""
        found = []
        for _ in range(5):
            head = self._read(path)
            if not head.startswith(b"#!"):
                break
            word = os.fsdecode(head[2:].partition(b"\n")[0].strip().split()[0])
            path, _ = self.real(os.path.join(self._cwd, word), follow=True)
            found.append((path, word))
        return found

    def loader(self, path: str) -> str | None:
        """The path of the ELF interpreter that a program asks for."""
        name = _interpreter(self._read(path))
        return None if name is None else self.real(name, follow=True)[0]

    def _read(self, path: str) -> bytes:
        descriptor = self._open(path, os.O_RDONLY)
        try:
            return os.read(descriptor, 4096)
        finally:
            os.close(descriptor)

    def _open(self, path: str, flags: int) -> int:
        """A descriptor; names are looked up as if the root, or the jail, were this process's own."""
        root = self._root
        if self._jail is not None and path.startswith(self._jail + "/"):
            root = os.open(self._jail, os.O_PATH | os.O_CLOEXEC)
            path = path.removeprefix(self._jail)
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
        try:
            opened = int(_libc.syscall(_NR_OPENAT2, root, os.fsencode(path), how, len(how)))
            if opened < 0:
                raise OSError(ctypes.get_errno(), path)
        finally:
            if root != self._root:
                os.close(root)
        return opened

    def _look(self, path: str, follow: bool, links: int = 40) -> tuple[str, str]:
        try:
            descriptor = self._open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                return path, "named"
        else:
            try:
                return os.readlink(f"/proc/self/fd/{descriptor}"), "resolved"
            finally:
                os.close(descriptor)
        above, _, name = path.rstrip("/").rpartition("/")
        if not name:
            return path, "resolved"
        directory, state = self._look(above or "/", True)
        if name == "..":
            return os.path.dirname(directory), state
        found = f"{directory.rstrip('/')}/{name}"
        if follow and links and (text := self._link(found)) is not None:
            return self._look(os.path.join(directory, text), True, links - 1)
        return found, state

    def _link(self, path: str) -> str | None:
        """The text of a link, or None if it is none."""
        try:
            descriptor = self._open(path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            return os.readlink("", dir_fd=descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)


def _interpreter(data: bytes) -> str | None:
    """PT_INTERP of a 64-bit ELF file: elf(5)."""
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    for index in range(count):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", data, offset + index * size)
        if kind == 3:
            return os.fsdecode(data[start : start + length].rstrip(b"\0"))
    return None
