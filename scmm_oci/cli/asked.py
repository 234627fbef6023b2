"""Who is asked about calls in one run: what the command line says, what the policy says → words for the launcher. Pure.

Called by cli.enforce.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scmm_oci.enforcer.admits import ASK, PERMISSIVE
from scmm_oci.errors import Finding, Problem
from scmm_oci.policy.model import Listener

_NOT_HELD = "listener-not-held"


@dataclass(frozen=True)
class Monitor:
    """What the command line says.

    Attributes:
        path: --listener. fd: --listener-fd. metadata: --listener-metadata.
    """

    path: str | None = None
    fd: str | None = None
    metadata: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether it names a monitor."""
        return self.path is not None or self.fd is not None


def effective(given: Monitor, listener: Listener | None, mode: str, *, asks: bool | None) -> Monitor:
    """The monitor of the run: that of the command line, or else the policy's own where there is something to ask.

    Args:
        listener: the policy's; None for one that is compiled, which has no place for it.
        asks: whether the policy has calls with the action notify; None where that is not known.
    """
    if listener is None or mode == PERMISSIVE:
        return given
    metadata = listener.metadata if given.metadata is None else given.metadata
    if given.is_given:
        return Monitor(given.path, given.fd, metadata)
    if listener.path is None or not (asks or mode == ASK):
        return given
    return Monitor(listener.path, None, metadata)


def problems(given: Monitor, chosen: Monitor, mode: str, *, asks: bool | None, may_lack: bool) -> Iterator[Problem]:
    """All that is wrong with it.

    Args:
        chosen: what `effective` made of it.
        may_lack: the mode ask may be without a monitor.
    """
    option = "--listener" if given.path is not None else "--listener-fd"
    if given.path is not None and given.fd is not None:
        yield Problem("--listener-fd", "two listeners were given", "either --listener or --listener-fd")
    if given.metadata is not None and not chosen.is_given:
        yield Problem("--listener-metadata", "goes with --listener or --listener-fd")
    if given.is_given and mode == PERMISSIVE:
        yield Problem(option, f"does not go with --mode {PERMISSIVE}", f"--mode {ASK} asks a monitor")
    elif given.is_given and asks is False and mode != ASK:
        message = "there is nothing to ask a monitor about: the policy has no call with the action notify"
        yield Problem(option, message, f"with --mode {ASK} it is asked about what the policy refuses")
    if mode == ASK and not chosen.is_given and not may_lack:
        hint = "--listener SOCKET, or settings.listener.path of the policy"
        yield Problem("--mode", f"{ASK} needs a monitor that is asked", hint)


def words(chosen: Monitor) -> list[str]:
    """The launcher's options."""
    given = (("--listener", chosen.path), ("--listener-fd", chosen.fd), ("--listener-metadata", chosen.metadata))
    return [f"{option}={value}" for option, value in given if value is not None]


def told(findings: Sequence[Finding], chosen: Monitor, mode: str, *, asks: bool | None) -> list[Finding]:
    """The findings of compiling: without the one that the policy's listener is not asked, where one is; with one more
    where there is something to ask, and nobody."""
    if chosen.is_given:
        return [one for one in findings if one.code != _NOT_HELD]
    if not asks or mode == PERMISSIVE:
        return list(findings)
    hint = "start `scmm-monitor`, and name its socket: --listener SOCKET"
    return [
        *findings,
        Finding("nobody-asked", "calls with the action notify fail with ENOSYS: no monitor is given", hint),
    ]
