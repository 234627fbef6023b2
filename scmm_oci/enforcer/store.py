"""The policy store: compiled policies by name, which is all that a container can ask for. Standard library only.

A name is one file, NAME.scmm-pol, in a directory that only root can write. What is read is checked as to whose it is
and as to what it is, so that the shim (scmm-runc) refuses a container before it starts; the launcher checks all of it
again. Called by the shim and by cli.policy.
"""

from __future__ import annotations

import fcntl
import os
import stat

from scmm_oci.enforcer import private
from scmm_oci.oci.annotations import NAME_RULE, is_capture_name, is_digest
from scmm_oci.oci.state import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = "/var/lib/scmm/policies"
SUFFIX = ".scmm-pol"
# A file beside a policy that somebody reads while containers are under it in permissive mode (enforcer.trying).
REPORT = ".report"

# The frame of a compiled policy (docs/formats.md), by bytes; compiled.polfile.layout is too dear for the shim.
MAGIC, VERSION, HEADER_SIZE, MAX_BYTES = b"SCMMPOL\0", 2, 64, 64 << 20


class BadStore(ValueError):
    """A policy, or the store, cannot be used; `problems` and the message name all that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Store:
    """The policies in one directory (an absolute path). Names are capture names: no path can be said with one."""

    __slots__ = ("directory",)

    def __init__(self, directory: str = DIRECTORY) -> None:
        self.directory = directory

    def read(self, name: str, digest: str | None = None) -> bytes:
        """The compiled policy of that name.

        digest: SHA-256 of the whole file, as 64 hexadecimal digits, that it must have.

        Raises BadStore: there is none, it or the store could have been written by others, it is no whole compiled
        policy of a version that is known, or it has another digest.
        """
        found = name_problems(name)
        if digest is not None and not is_digest(digest):
            found.append(f"{shown(digest)} is no SHA-256: 64 hexadecimal digits in small letters expected")
        if found:
            raise BadStore(found)
        with _Opened(self.directory) as directory:
            try:
                data = private.read_at(directory, name + SUFFIX, MAX_BYTES, place=self._place(name))
            except FileNotFoundError:
                raise BadStore([self._unknown(name, directory)]) from None
            except OSError as error:
                raise BadStore([_words(error)]) from None
        found = [f"{self._place(name)} {each}" for each in frame_problems(data)]
        if digest is not None and (other := private.sha256(data)) != digest:
            found.append(f"the policy {name} has the digest sha256:{other}, and sha256:{digest} was asked for")
        if found:
            raise BadStore(found)
        return data

    def add(self, name: str, data: bytes, *, replace: bool = False) -> str:
        """Put a compiled policy into the store, whole or not at all, and give its digest (64 hexadecimal digits).

        The same bytes under the same name are no change. replace: take the place of another policy of that name.

        Raises BadStore: the name or the data is not usable, another policy has the name, or it cannot be written.
        """
        found = [*name_problems(name), *(f"the policy {each}" for each in frame_problems(data))]
        if found:
            raise BadStore(found)
        digest = private.sha256(data)
        with _Opened(self.directory, make=True, lock=True) as directory:
            try:
                if not replace and self._has(directory, name, data):
                    return digest
                # What an `add` that was killed left behind: whoever holds the lock is the only writer.
                for each in os.listdir(directory):
                    if each.startswith(".") and each.endswith(private.TEMPORARY):
                        private.forget_at(directory, each)
                private.write_at(directory, name + SUFFIX, data, durable=True)
            except OSError as error:
                raise BadStore([f"{self._place(name)} cannot be written: {_words(error)}"]) from None
        return digest

    def remove(self, name: str) -> None:
        """Take a policy out. Containers that run under it keep it. Raises BadStore: there is none, or it cannot be."""
        found = name_problems(name)
        if found:
            raise BadStore(found)
        with _Opened(self.directory, lock=True) as directory:
            try:
                os.unlink(name + SUFFIX, dir_fd=directory)
                os.fsync(directory)
            except FileNotFoundError:
                raise BadStore([self._unknown(name, directory)]) from None
            except OSError as error:
                raise BadStore([f"{self._place(name)} cannot be removed: {_words(error)}"]) from None

    def report(self, name: str, owner: tuple[int, int]) -> str | None:
        """The path of the file for what permissive mode would refuse under a policy, or None: nobody asks for one.

        owner: user and group, outside of the container, of its program: the launcher writes to nobody else's file.

        Raises BadStore: what is there is no regular file with one name, or cannot be given away.
        """
        place = os.path.join(self.directory, name + REPORT)
        with _Opened(self.directory) as directory:
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                descriptor = os.open(name + REPORT, flags, dir_fd=directory)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise BadStore([f"{place} cannot be a report: {_words(error)}"]) from None
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                    raise BadStore([f"{place} cannot be a report: it is no regular file with one name"])
                os.fchown(descriptor, *owner)
            except OSError as error:
                raise BadStore([f"{place} cannot be a report: {_words(error)}"]) from None
            finally:
                os.close(descriptor)
        return place

    def names(self) -> list[str]:
        """The names that there are, sorted, whether or not they can be read; none where there is no store yet.

        Raises BadStore where the store itself is not usable.
        """
        return sorted(name for name, known in self._files() if known)

    def strangers(self) -> list[str]:
        """Files in the store that are no policy by their name, and are never used; sorted. Raises BadStore."""
        return sorted(name for name, known in self._files() if not known)

    def _files(self) -> Iterator[tuple[str, bool]]:
        if not os.path.lexists(self.directory):
            return
        with _Opened(self.directory) as directory:
            yield from _listed(directory)

    def _has(self, directory: int, name: str, data: bytes) -> bool:
        """Whether the name has just these bytes already. Raises BadStore if it has others."""
        try:
            there = private.read_at(directory, name + SUFFIX, MAX_BYTES, place=self._place(name))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise BadStore([f"{_words(error)}; --replace writes it anew"]) from None
        if there != data:
            digest = private.sha256(there)
            raise BadStore([f"there is another policy {name} (sha256:{digest}); --replace takes its place"])
        return True

    def _place(self, name: str) -> str:
        return os.path.join(self.directory, name + SUFFIX)

    def _unknown(self, name: str, directory: int) -> str:
        # Words for people are dear, and are loaded where a container does not start.
        from scmm_oci.errors import did_you_mean

        near = did_you_mean(name, [each for each, known in _listed(directory) if known])
        hint = f"did you mean {near!r}?" if near else "`scmm policy list` shows those that there are"
        return f"there is no policy {name} in {self.directory} ({hint})"


class _Opened:
    """The store's directory, checked, as a descriptor. lock: held by one writer at a time, and freed by the kernel."""

    def __init__(self, path: str, *, make: bool = False, lock: bool = False) -> None:
        try:
            self._descriptor = private.open_directory(path, make=make)
            if lock:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except FileNotFoundError:
            raise BadStore([f"there is no policy store {path}: `scmm policy add` makes it"]) from None
        except OSError as error:
            raise BadStore([f"the policy store cannot be used: {_words(error)}"]) from None

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *exc: object) -> None:
        os.close(self._descriptor)


def _listed(directory: int) -> Iterator[tuple[str, bool]]:
    """Names of policies, and True; names of other files, and False; nothing of what is being written."""
    for each in os.listdir(directory):
        name = each.removesuffix(SUFFIX)
        if name != each and is_capture_name(name):
            yield name, True
        elif not ((each.startswith(".") and each.endswith(SUFFIX + private.TEMPORARY)) or each.endswith(REPORT)):
            yield each, False


def name_problems(name: str) -> list[str]:
    """What keeps `name` from being the name of a policy; empty if nothing does."""
    return [] if is_capture_name(name) else [f"{shown(name)} is no name of a policy: {NAME_RULE}"]


def frame_problems(data: bytes) -> list[str]:
    """Why these bytes are no whole compiled policy of the version that is known; each goes on from the file's name."""
    if not data.startswith(MAGIC):
        return ["is no compiled policy; `scmm compile` makes one"]
    version = int.from_bytes(data[8:10], "little")
    if version != VERSION:
        return [f"is a compiled policy of version {version}, and only {VERSION} is read: compile the policy again"]
    if len(data) > MAX_BYTES:
        return [f"has {len(data)} bytes; {MAX_BYTES} are the most"]
    size = int.from_bytes(data[16:24], "little")
    if size != len(data):
        return [f"is not whole: it has {len(data)} bytes, and says {size}"]
    if private.sha256(data[HEADER_SIZE:]) != data[32:64].hex():
        return ["is damaged: its digest is not that of its content"]
    return []


def _words(error: OSError) -> str:
    return error.strerror or str(error)
