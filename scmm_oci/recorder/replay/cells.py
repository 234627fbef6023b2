"""What a replay tries, and what came of it: frozen values, which replay.trial makes and cli.replayed prints."""

from __future__ import annotations

from dataclasses import dataclass

from scmm_oci.capture.model import Phase
from scmm_oci.errors import Finding
from scmm_oci.tables.floor import Verb

# How a program that was still running when its time was over is said to have ended.
RUNS = "runs"


@dataclass(frozen=True)
class Runtime:
    """An OCI runtime on this host.

    Attributes:
        name: the last part of its path; ``version`` as it prints it, None where it does not.
        digest: SHA-256 of the binary, as hex.
    """

    path: str
    name: str
    version: str | None
    digest: str


@dataclass(frozen=True)
class Cell:
    """One way in which a container is started."""

    runtime: Runtime
    no_new_privileges: bool
    verb: Verb

    @property
    def title(self) -> str:
        """For messages: ``runc create nnp=1``."""
        return f"{self.runtime.name} {self.verb} nnp={int(self.no_new_privileges)}"


@dataclass(frozen=True)
class Ran:
    """How one start ended.

    Attributes:
        end: the program's exit status as a shell has it, or RUNS and the file that it executes; None if the runtime
            gave up.
        step: the verb of the runtime that failed, or "" if none did.
        message: what the runtime said then.
    """

    end: int | str | None
    step: str = ""
    message: str = ""


@dataclass(frozen=True, order=True)
class Missing:
    """A call that the profile refuses.

    Attributes:
        phase: who makes it: the runtime after it has loaded the filter, or the program.
        detail: the argument's value that is refused; "" if the call is, whatever its arguments.
        needed: whether the container fails without just this one; None where that was not tried.
    """

    phase: Phase
    name: str
    detail: str = ""
    needed: bool | None = None


@dataclass(frozen=True)
class Tried:
    """What came of one cell.

    Attributes:
        expected: how it ends without a profile; all else is compared with this.
        passed: how many of ``times`` ended like that.
        phase: where the first that failed did so; None if none failed, or if it is not known.
        missing: what the profile refuses; empty if it is not known.
        enough: whether the profile with all of ``missing`` lets it run; None where that was not tried.
    """

    cell: Cell
    times: int
    expected: Ran
    passed: int
    failure: Ran | None = None
    phase: Phase | None = None
    missing: tuple[Missing, ...] = ()
    enough: bool | None = None

    @property
    def good(self) -> bool:
        """Whether every start ended as without a profile."""
        return self.passed == self.times


@dataclass(frozen=True)
class Replay:
    """Everything that was tried."""

    cells: tuple[Tried, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the profile serves in every cell."""
        return all(one.good for one in self.cells)
