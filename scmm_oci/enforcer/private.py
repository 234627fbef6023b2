"""Directories and files that only root, or who we run as, can have written. Standard library only (scmm-runc).

What the shim acts on as root lies in two directories, the policy store and that of running containers. Every name is
opened relative to a descriptor of its directory, no link is followed, and what others could have put there is refused.
Called by enforcer.store and enforcer.places.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_CHUNK = 1 << 20

TEMPORARY = ".tmp"


def open_directory(path: str, *, make: bool = False) -> int:
    """A descriptor of the directory at the absolute path, after it was checked.

    make: make it where it is missing, and what is missing above it, for us alone (mode 0700).

    Raises OSError: it is missing, is a symbolic link or no directory, belongs to neither root nor us, or others could
    write there or put another in its place; with all of that.
    """
    if not os.path.isabs(path):
        raise _refused(errno.EINVAL, f"{path} is not an absolute path")
    if make:
        _make(path)
    descriptor = _open(path, os.O_RDONLY | os.O_DIRECTORY, place=path)
    try:
        found = _of_others(os.fstat(descriptor), path)
        found += replaceable(path)
        if found:
            raise _refused(errno.EPERM, "; ".join(found))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def replaceable(path: str) -> list[str]:
    """Who but root and us could put another directory in the place of the one at the absolute path, if anybody."""
    found = []
    # Links above it may be root's; what they lead to is asked about.
    above = os.path.realpath(os.path.dirname(os.path.normpath(path)))
    while True:
        status = os.stat(above)
        # In a sticky directory nobody can replace what is not theirs.
        open_to_all = status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid()) or open_to_all:
            found.append(f"others could replace {path}: {above} is theirs to write")
        if above == os.path.dirname(above):
            return found
        above = os.path.dirname(above)


def open_below(directory: int, name: str, place: str) -> int:
    """A descriptor of a directory in `directory`; `place` is its path, for messages. Raises OSError as above."""
    descriptor = _open(name, os.O_RDONLY | os.O_DIRECTORY, place=place, directory=directory)
    found = _of_others(os.fstat(descriptor), place)
    if found:
        os.close(descriptor)
        raise _refused(errno.EPERM, "; ".join(found))
    return descriptor


def read_at(directory: int, name: str, most: int, *, place: str) -> bytes:
    """The content of a regular file in `directory`, of at most `most` bytes.

    Raises OSError: it is missing, a link, no regular file, larger, or others could have written it.
    """
    # A FIFO without a writer must not hold us up.
    descriptor = _open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, place=place, directory=directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _refused(errno.EINVAL, f"{place} is no regular file")
        found = _of_others(status, place)
        if status.st_size > most:
            found.append(f"{place} has {status.st_size} bytes; {most} are the most")
        if found:
            raise _refused(errno.EPERM, "; ".join(found))
        chunks = []
        left = most + 1
        while left > 0 and (chunk := os.read(descriptor, min(left, _CHUNK))):
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(descriptor)
    if left <= 0:
        raise _refused(errno.EFBIG, f"{place} grew beyond {most} bytes")
    return b"".join(chunks)


def write_at(
    directory: int,
    name: str,
    data: bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    durable: bool = False,
) -> None:
    """Write a file in `directory` whole or not at all, whatever stood there before.

    mode: exactly this, whatever the umask. owner: user and group that it is given to, else ours. durable: it outlasts
    a loss of power.

    The temporary name is made of the name alone, so that a killed writer's is known: nobody else may write that name at
    the same time. Raises OSError; then nothing has changed.
    """
    temporary = f".{name}{TEMPORARY}"
    forget_at(directory, temporary)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if owner is not None:
                os.fchown(descriptor, *owner)
            # Whoever has given up changing modes (cli.confine) needs none.
            if os.fstat(descriptor).st_mode & 0o7777 != mode:
                os.fchmod(descriptor, mode)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        if durable:
            os.fsync(directory)
    except BaseException:
        forget_at(directory, temporary)
        raise


def forget_at(directory: int, name: str) -> None:
    """Remove a file of `directory`, if it is there."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal digits. hashlib would load OpenSSL, which takes 3 ms here."""
    try:
        module: Any = __import__("_sha256")
    except ImportError:
        try:
            module = __import__("_sha2")  # since Python 3.12
        except ImportError:
            module = __import__("hashlib")
    digest: str = module.sha256(data).hexdigest()
    return digest


def _make(path: str) -> None:
    missing = []
    place = os.path.normpath(path)
    while not os.path.lexists(place):
        missing.append(place)
        place = os.path.dirname(place)
    for each in reversed(missing):
        try:
            os.mkdir(each, 0o700)
        except FileExistsError:
            pass  # another was quicker; whose it is, is looked at
        except OSError as error:
            raise _refused(error.errno or 0, f"{each} cannot be made: {error.strerror}") from None


def _open(name: str, flags: int, *, place: str, directory: int | None = None) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        # Of a link, O_DIRECTORY says ENOTDIR before O_NOFOLLOW says ELOOP: open(2).
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(name, directory):
            raise _refused(error.errno, f"{place} is a symbolic link, which is not followed") from None
        if error.errno == errno.ENXIO:
            raise _refused(error.errno, f"{place} is no regular file") from None  # a socket: open(2)
        # OSError makes of the number the class that belongs to it, such as FileNotFoundError.
        raise _refused(error.errno or 0, f"{place}: {error.strerror}") from None


def _is_link(name: str, directory: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _of_others(status: os.stat_result, place: str) -> list[str]:
    found = []
    if status.st_uid not in (0, os.geteuid()):
        found.append(f"{place} belongs to uid {status.st_uid}, not to root or to us")
    if status.st_mode & _OTHERS_WRITE:
        found.append(f"{place} can be written by others (mode {status.st_mode & 0o7777:04o}): chmod go-w")
    return found


def _refused(number: int, message: str) -> OSError:
    return OSError(number, message)
