"""Read files with a bound on their size, and write them whole or not at all.

Standard library only, and little of it: the OCI hooks write captures through this module.
"""

from __future__ import annotations

import os
import stat

from scmm_oci.errors import BadInput, Failure, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = 1 << 20


def read_bounded(path: str | os.PathLike[str], max_bytes: int, *, own: bool = False) -> bytes:
    """The content of a file that has at most ``max_bytes`` bytes.

    Args:
        own: it must be the user's own, and no symbolic link: what another user has put there is not read.

    Raises:
        BadInput: the file cannot be opened or read, or is larger. Nothing past the bound is read, whatever the
            file's stated size is (``/proc`` and pipes state none).
    """
    name = os.fspath(path)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | (os.O_NOFOLLOW if own else 0))
        try:
            if own and os.fstat(fd).st_uid != os.geteuid():
                raise BadInput([Problem("", "is another user's", "remove it, or name another file")], source=name)
            chunks: list[bytes] = []
            left = max_bytes + 1
            while left > 0 and (chunk := os.read(fd, min(left, _CHUNK))):
                chunks.append(chunk)
                left -= len(chunk)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        raise BadInput([Problem("", f"cannot be read: {reason(error)}")], source=name) from error
    if left <= 0:
        raise BadInput([Problem("", f"is larger than {max_bytes} bytes")], source=name)
    return b"".join(chunks)


def atomic_write(
    path: str | os.PathLike[str], data: bytes, mode: int = 0o644, *, owner: tuple[int, int] | None = None
) -> None:
    """Write one file whole or not at all; see :func:`atomic_write_all`."""
    atomic_write_all([(path, data)], mode, owner=owner)


def atomic_write_all(
    files: Sequence[tuple[str | os.PathLike[str], bytes]],
    mode: int = 0o644,
    *,
    owner: tuple[int, int] | None = None,
) -> None:
    """Write several files, all of them or none.

    Each goes to a temporary name in its own directory and is synced; when all are there, they are renamed into place.
    If a rename fails, the ones already done get their old content back. An existing file is replaced (its mode is
    not kept). Symbolic links, devices and directories are refused: renaming over ``/dev/null`` would break a machine.

    Args:
        files: pairs of path and content.
        mode: permission bits of the new files, less the umask.
        owner: user and group that the new files are given to; None: ours.

    Raises:
        Failure: a file could not be written; no path has changed.
    """
    names = [os.fspath(path) for path, _ in files]
    try:
        places = {os.path.abspath(name) for name in names}
    except OSError as error:
        raise Failure(f"the working directory cannot be told: {error.strerror}", "is it gone?") from None
    if len(places) != len(names):
        raise Failure("two outputs have the same path: " + ", ".join(names))
    staged: list[tuple[str, str]] = []
    try:
        for name, (_, data) in zip(names, files, strict=True):
            _check_replaceable(name)
            staged.append((_stage(name, data, mode, owner), name))
        _rename_all(staged, mode)
    finally:
        for temporary, _ in staged:
            _forget(temporary)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out before the work, not after it, whether `atomic_write` can write there; the path itself is not touched.

    Raises:
        Failure: it cannot.
    """
    name = os.fspath(path)
    _check_replaceable(name)
    _forget(_stage(name, b"", 0o600))


def _check_replaceable(name: str) -> None:
    try:
        kind = os.lstat(name).st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise Failure(f"{name} cannot be written: {reason(error)}") from error
    if stat.S_ISLNK(kind):
        raise Failure(f"{name} is a symbolic link and is not replaced", "give the path it points to")
    if not stat.S_ISREG(kind):
        raise Failure(f"{name} exists and is not a regular file")


def _temporary(name: str) -> str:
    # A name of its own, not one made from the target's: that could be longer than the 255 bytes a name may have.
    return os.path.join(os.path.dirname(name) or ".", f".scmm-{os.urandom(8).hex()}.tmp")


def _stage(name: str, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> str:
    temporary = _temporary(name)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as error:
        raise Failure(f"{name} cannot be written: {reason(error)}") from error
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if owner is not None:
            os.fchown(fd, *owner)
        os.fsync(fd)
    except BaseException as error:
        _forget(temporary)
        if isinstance(error, OSError):
            raise Failure(f"{name} cannot be written: {reason(error)}") from error
        raise
    finally:
        os.close(fd)
    return temporary


def _rename_all(staged: Sequence[tuple[str, str]], mode: int) -> None:
    done: list[tuple[str, str | None]] = []
    backups: list[str] = []
    try:
        for temporary, name in staged:
            kept = _keep_old(name, mode) if len(staged) > 1 else None
            if kept is not None:
                backups.append(kept)
            try:
                os.rename(temporary, name)
            except OSError as error:
                raise Failure(f"{name} cannot be written: {reason(error)}") from error
            done.append((name, kept))
        for directory in {os.path.dirname(name) or "." for _, name in staged}:
            _sync_directory(directory)
    except BaseException:
        for name, kept in reversed(done):
            if kept is None:
                _forget(name)
            else:
                os.rename(kept, name)
        raise
    finally:
        for kept in backups:
            _forget(kept)


def _keep_old(name: str, mode: int) -> str | None:
    """A second name of a file that is about to be replaced, or None if there is no such file yet."""
    kept = _temporary(name)
    try:
        os.link(name, kept, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError:
        # Not every file system has links, and not every file may be linked to (proc_sys_fs(5), protected_hardlinks).
        try:
            with open(name, "rb") as file:
                return _stage(name, file.read(), mode)
        except OSError as error:
            raise Failure(f"{name} cannot be replaced: {reason(error)}") from error
    return kept


def _sync_directory(directory: str) -> None:
    # Makes the rename itself durable (fsync(2), NOTES). Some file systems cannot: the file is there all the same.
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


def _forget(name: str) -> None:
    try:
        os.unlink(name)
    except OSError:
        pass


def reason(error: Exception) -> str:
    """Why something failed, in the system's words where it has some; without the file's name."""
    return getattr(error, "strerror", None) or str(error)
