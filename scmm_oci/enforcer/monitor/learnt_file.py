"""The file of --learn, written anew while the monitor learns, and at its end."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from scmm_oci.enforcer.monitor.learning import Learning
from scmm_oci.enforcer.monitor.learnt import MADE_BY, Delta, delta, text
from scmm_oci.errors import BadInput, Failure, Finding, Problem, ScmmError
from scmm_oci.files import atomic_write, check_writable
from scmm_oci.policy import document
from scmm_oci.policy.merge import union
from scmm_oci.policy.model import Action, Policy
from scmm_oci.tables.arch import Arch

_EACH_S = 1.0  # at most so often
_SHARE = 20  # and no more than one second in so many goes into it: meanwhile no call is decided
_AGAIN_S = 10.0  # after it could not be written


class LearntFile:
    """A policy file that has what was learnt. What another monitor wrote there, before or meanwhile, is added to.

    Attributes:
        allowed: the calls that it allows, once it is finished.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        learning: Learning,
        *,
        arch: Arch,
        now: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        """Look at the file.

        Args:
            arch: the machine's own ABI.
            now: seconds of a clock that only goes on.
            tell: gets why the file cannot be written, once each time that this begins.

        Raises:
            BadInput: there is a file that --learn has not written, or that is of another machine.
            Failure: nothing can be written there.
        """
        self.allowed: frozenset[str] = frozenset()
        self._path = os.fspath(path)
        self._learning = learning
        self._arch = arch
        self._now = now
        self._tell = tell
        self._before = _before(self._path, arch)
        self._written = _identity(self._path)
        self._version = -1 if self._before is None else learning.version
        self._next = now()
        self._failing = False
        self._pool = ThreadPoolExecutor(1, "learnt")
        check_writable(self._path)

    async def tend(self) -> None:
        """Write the file if something is new and the last time is long enough ago; does not hold up the loop.

        Only one at a time: whoever calls this awaits it before calling again.
        """
        if self._learning.version == self._version or self._now() < self._next:
            return
        version = self._learning.version
        began = self._now()
        try:
            data = self._made()[1]
            took = self._now() - began
            await self._write(data)
        except ScmmError as error:
            self._failed(error)
        else:
            self._written = _identity(self._path)
            self._version = version
            self._next = self._now() + max(_EACH_S, _SHARE * took)
            self._failing = False

    async def _write(self, data: bytes) -> None:
        """Off the loop: a disk can be slow."""
        try:
            written = self._pool.submit(atomic_write, self._path, data)
        except RuntimeError as error:  # targets may have taken all threads that there can be
            raise Failure(f"{self._path} cannot be written: {error}") from error
        await asyncio.wrap_future(written)

    def finish(self) -> tuple[Finding, ...]:
        """Write the file a last time, with all counts; what is to be said of it.

        Raises:
            Failure: it could not be written.
            BadInput: somebody has put another file there.
        """
        made, data = self._made()
        atomic_write(self._path, data)
        self.allowed = frozenset(rule.name for rule in made.policy.syscalls)
        return made.findings

    def _made(self) -> tuple[Delta, bytes]:
        """What is to be written now."""
        if _identity(self._path) not in (self._written, None):
            found = _before(self._path, self._arch)
            both = [one for one in (self._before, found) if one is not None]
            self._before = union(both).policy if len(both) > 1 else found
            self._written = _identity(self._path)
        made = delta(self._learning, arch=self._arch, before=self._before)
        return made, text(made)

    def _failed(self, error: ScmmError) -> None:
        self._next = self._now() + _AGAIN_S
        if not self._failing:
            self._failing = True
            self._tell(f"{error}; what is learnt is kept in memory, and written when that is possible")


def _identity(path: str) -> tuple[int, int, int] | None:
    """Another whenever somebody has written the file; None if there is none that can be read."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if stat.S_ISREG(status.st_mode) else None


def _before(path: str, arch: Arch) -> Policy | None:
    if not os.path.lexists(path):
        return None
    policy = document.read(path)
    # What was merged of one and another policy has the other's default.
    if not (policy.metadata.generated_from or "").startswith(MADE_BY) or policy.settings.default_action != Action.KILL:
        hint = "give another file, and merge the two when it is there"
        raise BadInput([Problem("", f"is not what {MADE_BY} has written, and is not overwritten", hint)], source=path)
    if policy.settings.arch is not arch:
        message = f"is of {policy.settings.arch}, and this machine is {arch}"
        raise BadInput([Problem("", message, "give another file")], source=path)
    return policy
