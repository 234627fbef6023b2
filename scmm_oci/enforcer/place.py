"""One container's directory below RUN, open: what it holds, and whether anything is left of its container.

Standard library only (scmm-runc). Places are found and made by enforcer.places, which says what they are.
"""

from __future__ import annotations

import os

from scmm_oci import quickjson
from scmm_oci.enforcer import living, private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OWNER, CONFIG, POLICY, LAUNCHER, PLAN = "owner.json", "config.json", "policy", "launcher", "plan.json"
_EXEC, _JSON = "exec-", ".json"

MAX_PLAN = 1 << 20  # bytes
MAX_POLICY = 64 << 20  # bytes
# Where runtimes keep the path of the bundle: runc (libcontainer, stateFilename) and youki; crun (src/libcrun/status.c).
STATES = ("state.json", "status")
MAX_STATE = 64 << 20  # bytes; runc's holds the configuration in other words


class Lost(ValueError):
    """The container was made by us, and what was decided about it cannot be read any more."""


class Place:
    """One container's directory, open. `generation` is who made it; of `claim`, that is this process.

    Of `claim` it is also locked, until it is closed or this process becomes another program. A context manager: an
    exception removes what was claimed.
    """

    __slots__ = ("_claimed", "_descriptor", "_run", "generation", "key", "path")

    def __init__(self, run: int, descriptor: int, *, path: str, generation: str, claimed: bool) -> None:
        self._run = run
        self._descriptor = descriptor
        self._claimed = claimed
        self.path = path
        self.key = os.path.basename(path)
        self.generation = generation

    def write(
        self,
        *,
        config: bytes,
        plan: dict[str, Any],
        policy: bytes | None = None,
        owner: tuple[int, int] | None = None,
        reachable: bool = False,
    ) -> None:
        """Write the bundle, and last the plan, without which nothing counts.

        owner: user and group of `policy`, which is what the container's root is outside. reachable: whoever knows the
        key may go through to `policy` (mode 0711 on the directories up to /run), as mounts of a user namespace need.

        Raises OSError; then it has to be given up.
        """
        private.write_at(self._descriptor, CONFIG, config)
        if policy is not None:
            private.write_at(self._descriptor, POLICY, policy, mode=0o444, owner=owner)
        if reachable:
            os.fchmod(self._descriptor, 0o711)
            for each in (self._run, os.path.dirname(os.path.dirname(self.path))):
                self._let_through(each)
        private.write_at(self._descriptor, PLAN, quickjson.dumps(plan))

    def copy_launcher(self, source: str) -> str:
        """Copy the launcher, for this container alone, and give the copy's path. Raises OSError.

        Who cannot read a program cannot look into its processes (would_dump in fs/exec.c): before the launcher has let
        the policy take hold of itself, others in the container must not write into it, by /proc/PID/mem.
        """
        with open(source, "rb", buffering=0) as file:
            private.write_at(self._descriptor, LAUNCHER, file.read(), mode=0o111)
        return os.path.join(self.path, LAUNCHER)

    def plan(self) -> dict[str, Any]:
        """What was decided when the container was made. Raises Lost."""
        try:
            return object_of(private.read_at(self._descriptor, PLAN, MAX_PLAN, place=os.path.join(self.path, PLAN)))
        except (OSError, ValueError) as error:
            text = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise Lost(f"how the container is enforced is not known any more: {text}") from None

    def check_policy(self, digest: object) -> None:
        """Raise Lost where the policy belongs to others, who are root in the container, and they have changed it.

        digest: the SHA-256 that it had. The next one who looks may see another: nothing keeps them from writing.
        """
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(POLICY, flags, dir_fd=self._descriptor)
        except FileNotFoundError:
            return  # the container has it mounted
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if status.st_uid in (0, os.geteuid()):
                return
            if status.st_size > MAX_POLICY or private.sha256(file.read(MAX_POLICY)) != digest:
                raise Lost(f"{os.path.join(self.path, POLICY)} was changed by uid {status.st_uid}, whose it is")

    def write_process(self, data: bytes) -> str:
        """Write the process of an `exec` and give the file's path. Those whose `exec` has ended go. Raises OSError."""
        for each in os.listdir(self._descriptor):
            # With a dot before and more after it: of one that was killed while it wrote.
            begun, _, rest = each.partition(_EXEC)
            if begun in ("", ".") and rest and not living.is_alive(rest.partition(_JSON)[0]):
                private.forget_at(self._descriptor, each)
        name = f"{_EXEC}{living.generation()}{_JSON}"
        private.write_at(self._descriptor, name, data)
        return os.path.join(self.path, name)

    def give_up(self) -> None:
        """Remove what was claimed: no container comes of it."""
        clear(self._descriptor)
        try:
            os.rmdir(self.key, dir_fd=self._run)
        except FileNotFoundError:
            pass

    def close(self) -> None:
        """Let go of it; what is in there stays."""
        os.close(self._descriptor)
        os.close(self._run)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        try:
            if kind is not None and self._claimed:
                self.give_up()
        finally:
            self.close()

    @staticmethod
    def _let_through(which: int | str) -> None:
        status = os.stat(which)
        if status.st_uid == os.geteuid() and status.st_mode & 0o111 != 0o111:
            os.chmod(which, status.st_mode & 0o7777 | 0o111)


def is_there(directory: str) -> bool:
    """Whether a runtime has a container's directory. Raises Lost where that cannot be told."""
    try:
        os.lstat(directory)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise Lost(f"whether there is such a container cannot be told: {directory}: {error.strerror}") from None
    return True


def is_named(directory: str, key: str) -> bool | None:
    """Whether the runtime's state of a container names the bundle of that key; None: it has no state that we know.

    Raises Lost where that cannot be told.
    """
    for each in STATES:
        place = os.path.join(directory, each)
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise Lost(f"whether the container is enforced cannot be told: {place}: {error.strerror}") from None
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MAX_STATE + 1)
        if len(data) > MAX_STATE:
            raise Lost(f"whether the container is enforced cannot be told: {place} is larger than {MAX_STATE} bytes")
        if not data.rstrip().endswith(b"}"):
            raise Lost(f"whether the container is enforced cannot be told: {place} is not whole")
        # The key is in no other word by chance, and JSON has no two ways to write it.
        return key.encode() in data
    return None


def owner_of(descriptor: int, path: str) -> dict[str, Any]:
    """What owner.json says; nothing where the directory is new, or who made it was killed at once.

    Raises OSError and ValueError where it is there, and is not what we write.
    """
    try:
        found = object_of(private.read_at(descriptor, OWNER, MAX_PLAN, place=os.path.join(path, OWNER)))
    except FileNotFoundError:
        return {}
    if not all(isinstance(found.get(each), str) for each in ("id", "root", "generation", "mounts")):
        raise ValueError(f"{os.path.join(path, OWNER)} lacks id, root, generation or mounts")
    return found


def is_over(owner: dict[str, Any], descriptor: int) -> bool:
    """Whether nothing is left of a container but its directory; no where that cannot be told."""
    if not owner:
        # Killed before it wrote anything: nobody writes another file first.
        return all(each.startswith(".") for each in os.listdir(descriptor))
    if living.is_alive(owner["generation"]):
        return False
    if owner["mounts"] != living.mounts() and not os.path.isdir(owner["root"]):
        return False  # made where other file systems are mounted: its runtime's directory may be on one of them
    try:
        os.lstat(os.path.join(owner["root"], owner["id"]))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def clear(descriptor: int) -> None:
    """Remove all files of a directory; owner.json last, so that one who is killed here leaves what can be swept."""
    for each in sorted(os.listdir(descriptor), key=lambda each: (each == OWNER, each)):
        private.forget_at(descriptor, each)


def object_of(data: bytes) -> dict[str, Any]:
    found = quickjson.loads(data)
    if not isinstance(found, dict):
        raise ValueError("an object expected")
    return found
