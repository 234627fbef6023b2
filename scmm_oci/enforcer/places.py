"""RUN/KEY: what the shim keeps of each container, its changed bundle among it. Standard library only (scmm-runc).

A directory belongs to one id below one root of a runtime. It is made under a lock, which the kernel frees whatever
becomes of the shim, and holds

    owner.json   written first: id, root, and the generation, which is the process that made it
    config.json  the changed bundle;  launcher, policy: what is mounted;  plan.json: what was decided, written last
    exec-GENERATION.json: the changed process of one `exec`

The shim becomes the runtime, so the generation's process is the runtime while it creates the container, or runs it in
the foreground. From then on the runtime has a directory ROOT/ID. Where there is neither, nothing is left of the
container, and `sweep` removes its directory. Called by enforcer.shim.
"""

from __future__ import annotations

import fcntl
import os
import time

from scmm_oci import quickjson
from scmm_oci.enforcer import living, private
from scmm_oci.enforcer.place import (
    MAX_PLAN,
    OWNER,
    PLAN,
    Lost,
    Place,
    clear,
    is_named,
    is_over,
    is_there,
    object_of,
    owner_of,
)
from scmm_oci.oci.state import is_container_id, shown

DIRECTORY = "/run/scmm/containers"

# As many directories does one `sweep` look at, 50 µs each. It begins at another place for each id, so that several come
# to all; there is little to do where the hook was not killed.
SWEPT = 32

# Seconds that `claim` waits for another shim, which has the lock for some 10 ms unless it was stopped; and between
# looks.
WAIT, _LOOK = 10.0, 0.005

_KEY_LENGTH = 24


class Taken(ValueError):
    """There is a container of that id already, or one is being made."""


def key_of(root: str, container_id: str) -> str:
    """The name of a container's directory. Raises ValueError for what no runtime takes for an id."""
    if not is_container_id(container_id):
        raise ValueError(f"{shown(container_id)} is not a container id")
    named = os.fsencode(os.path.realpath(root)) + b"\0" + container_id.encode()
    return private.sha256(named)[:_KEY_LENGTH]


class Places:
    """The directory RUN (an absolute path) with the containers in it."""

    __slots__ = ("directory",)

    def __init__(self, directory: str = DIRECTORY) -> None:
        self.directory = directory

    def claim(self, root: str, container_id: str) -> Place:
        """The place of a container that is about to be made, empty but for owner.json, and locked.

        root: the runtime's --root. What an earlier container of that id left is removed.

        Raises Taken; OSError where RUN is not ours alone or cannot be written; ValueError for what is no id.
        """
        key = key_of(root, container_id)
        run = private.open_directory(self.directory, make=True)
        descriptor = -1
        try:
            descriptor = self._locked(run, key)
            owner = owner_of(descriptor, self._path(key))
            # Who was there before may not have come as far as the runtime's directory yet.
            if is_there(os.path.join(root, container_id)) or living.is_alive(owner.get("generation", "")):
                raise Taken(f"container with id {container_id} exists already, or is being made ({self._path(key)})")
            clear(descriptor)
            mine = living.generation()
            owner = {"id": container_id, "root": os.path.realpath(root), "generation": mine, "mounts": living.mounts()}
            private.write_at(descriptor, OWNER, quickjson.dumps(owner))
            return Place(run, descriptor, path=self._path(key), generation=mine, claimed=True)
        except BaseException:
            if descriptor >= 0:
                os.close(descriptor)
            os.close(run)
            raise

    def find(self, root: str, container_id: str) -> Place | None:
        """The place of a container that exists or is being made; None if it is none of ours, or there is none.

        Raises Lost: the runtime's state names our bundle, and it is gone; or it cannot be told. OSError: it is there,
        and others could have changed it. ValueError for what is no id.
        """
        key = key_of(root, container_id)
        named = is_named(os.path.join(root, container_id), key)
        if named is False:
            return None
        try:
            run = private.open_directory(self.directory)
        except FileNotFoundError:
            if named:
                raise Lost(f"the container was made from {self._path(key)}, which is gone") from None
            return None
        try:
            descriptor = private.open_below(run, key, self._path(key))
        except BaseException as error:
            os.close(run)
            if not isinstance(error, FileNotFoundError):
                raise
            if named:
                raise Lost(f"the container was made from {self._path(key)}, which is gone") from None
            return None
        try:
            owner = owner_of(descriptor, self._path(key))
            if named or not is_over(owner, descriptor):
                generation = owner.get("generation", "")
                return Place(run, descriptor, path=self._path(key), generation=generation, claimed=False)
        except BaseException:
            os.close(descriptor)
            os.close(run)
            raise
        os.close(descriptor)  # left over: the runtime says that there is no such container
        os.close(run)
        return None

    def sweep(self, *, first: str = "") -> list[str]:
        """Remove the directories of containers that are gone, and give their keys.

        first: the key at which it begins; after SWEPT directories it ends. One that is locked, or about which it cannot
        be told, stays. Raises OSError where RUN is not ours alone.
        """
        removed: list[str] = []
        try:
            run = private.open_directory(self.directory)
        except FileNotFoundError:
            return removed
        try:
            names = sorted(filter(_is_key, os.listdir(run)))
            begin = next((place for place, name in enumerate(names) if name >= first), 0)
            for key in (names[begin:] + names[:begin])[:SWEPT]:
                if self._remove(run, key, ended=None):
                    removed.append(key)
        finally:
            os.close(run)
        return removed

    def remove(self, key: str, generation: str) -> bool:
        """Remove a container's directory, if it is still of that generation; whether it was.

        For the poststop hook, which knows that the container has ended: crun's directory of it is still there then, and
        the runtime, if it is a `run` in the foreground, still lives. Raises OSError, and ValueError for what is no key.
        """
        if not _is_key(key):
            raise ValueError(f"{shown(key)} is no key of a container's directory")
        try:
            run = private.open_directory(self.directory)
        except FileNotFoundError:
            return False
        try:
            return self._remove(run, key, ended=generation)
        finally:
            os.close(run)

    def bundles(self) -> dict[str, str]:
        """Private bundle → the caller's own (`bundle` in the plan), of all containers. Raises OSError."""
        found: dict[str, str] = {}
        try:
            run = private.open_directory(self.directory)
        except FileNotFoundError:
            return found
        try:
            for key in sorted(filter(_is_key, os.listdir(run))):
                try:
                    place = os.path.join(key, PLAN)
                    original = object_of(private.read_at(run, place, MAX_PLAN, place=place)).get("bundle")
                except (OSError, ValueError):
                    continue  # it is being made, or removed
                if isinstance(original, str):
                    found[self._path(key)] = original
        finally:
            os.close(run)
        return found

    def _path(self, key: str) -> str:
        return os.path.join(self.directory, key)

    def _locked(self, run: int, key: str) -> int:
        """The key's directory, made where it is missing, and locked. Raises Taken where another keeps the lock."""
        end = time.monotonic() + WAIT
        while True:
            try:
                os.mkdir(key, 0o700, dir_fd=run)
            except FileExistsError:
                pass
            try:
                descriptor = private.open_below(run, key, self._path(key))
            except FileNotFoundError:
                continue  # removed since
            try:
                while not _lock(descriptor):
                    if time.monotonic() > end:
                        raise Taken(
                            f"another container of that id has been being made for {WAIT:.0f} s ({self._path(key)})"
                        )
                    time.sleep(_LOOK)
                if _is_there(run, key, descriptor):
                    os.fchmod(descriptor, 0o700)
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # removed while we waited

    def _remove(self, run: int, key: str, *, ended: str | None) -> bool:
        """Remove one directory under its lock. ended: the generation that has ended; None: if nothing is left of it."""
        try:
            descriptor = private.open_below(run, key, self._path(key))
        except OSError:
            return False
        try:
            if ended is None and not is_over(owner_of(descriptor, self._path(key)), descriptor):
                return False
            if not _lock(descriptor):
                return False  # somebody is making a container there
            if not _is_there(run, key, descriptor):
                return False
            # Another container of that id may have been made since we looked.
            owner = owner_of(descriptor, self._path(key))
            if not (is_over(owner, descriptor) if ended is None else owner.get("generation") == ended):
                return False
            clear(descriptor)
            os.rmdir(key, dir_fd=run)
            return True
        except (OSError, ValueError):
            return False  # what is left of it, the next one removes; what is not as we write it, nobody
        finally:
            os.close(descriptor)


def _is_key(name: str) -> bool:
    return len(name) == _KEY_LENGTH and all(each in "0123456789abcdef" for each in name)


def _lock(descriptor: int) -> bool:
    """Lock a directory; False where another has it locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(run: int, key: str, descriptor: int) -> bool:
    """Whether the name still leads to the directory that is open."""
    try:
        named = os.stat(key, dir_fd=run, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))
