"""Machines of policies, kept in the run directory: the next start of a container takes them without reading the policy.

Reading a compiled policy and making bitmaps of it takes 50 ms, most of it for loading modules; taking what is kept, one
or two. What is kept goes by the policy's digest and by the files that decide what is made of it, until the next boot.
Standard library only (hook).
"""

from __future__ import annotations

import os

from scmm_oci.enforcer import private
from scmm_oci.watch.machines import Machines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DIRECTORY = "machines"
MOST = 32  # policies whose machines are kept
_MOST_BYTES = 4 << 20  # of machines; six with a depth each are 900 KiB
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SOURCES = (
    *("watch/machine.py", "watch/machines.py", "watch/wire.py", "tables/states.py"),
    *("compiled/polfile/codes.py", "compiled/polfile/reader.py", "compiled/polfile/sections.py"),
)


def machines(above: str, digest: str, make: Callable[[], Machines]) -> Machines:
    """The machines of the policy with this digest: those that are kept below the directory `above`, or `make`'s.

    above: one that only we can write. What cannot be kept is made the next time, too. Raises what `make` raises.
    """
    directory = os.path.join(above, DIRECTORY)
    path = os.path.join(directory, _name(digest))
    try:
        with open(path, "rb", buffering=0) as file:
            return _unpacked(file.read(_MOST_BYTES))
    except (OSError, ValueError):
        pass
    made = make()
    try:
        _keep(directory, path, made.to_bytes())
    except OSError:
        pass
    return made


def _name(digest: str) -> str:
    status = [os.stat(os.path.join(_PACKAGE, each)) for each in _SOURCES]
    sources = ":".join(f"{each.st_ino}:{each.st_size}:{each.st_mtime_ns}" for each in status)
    return f"{digest}-{private.sha256(sources.encode())[:16]}"


def _unpacked(data: bytes) -> Machines:
    import zlib

    try:
        found = zlib.decompressobj().decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    return Machines.from_bytes(found)


def _keep(directory: str, path: str, data: bytes) -> None:
    import zlib

    os.makedirs(directory, mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(zlib.compress(data, 1))
        os.rename(temporary, path)
    except BaseException:
        _forget(temporary)
        raise
    names = os.listdir(directory)
    if len(names) > MOST:
        # What was made first goes first; a file of a hook that was killed while it wrote, too.
        dated = sorted((_changed(os.path.join(directory, name)), name) for name in names)
        for _, name in dated[: len(names) - MOST]:
            _forget(os.path.join(directory, name))


def _changed(path: str) -> int:
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return 0


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
