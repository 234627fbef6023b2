"""The monitor's control socket: what it is doing, for `scmm monitor status`.

Beside the listener's socket, with the same rules for who may connect (monitor.sockets). A connection is one line with
one word, and one line of JSON back (docs/monitor.md, "Status").
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scmm_oci import __version__
from scmm_oci.enforcer.monitor import exchanges
from scmm_oci.enforcer.monitor.exchanges import Exchanges
from scmm_oci.enforcer.monitor.model import Verdict
from scmm_oci.enforcer.monitor.record import timestamp
from scmm_oci.enforcer.monitor.served import Served
from scmm_oci.enforcer.monitor.sockets import CONTROL, Listening, filters_of, peer_of, refusal
from scmm_oci.errors import Failure
from scmm_oci.files import reason

FORMAT = "scmm-monitor-status"
VERSION = 1
_MOST_QUESTION = 256  # bytes
_MOST_ANSWER = 16 << 20  # bytes
_STATUS = b"status\n"


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One listener.

    Attributes:
        since: when it was handed over, in seconds since 1970.
        calls: that came by it; those of them that were allowed, denied (killed and answered with a value too), and
            wait now.
    """

    id: str
    name: str
    pid: int
    since: float
    calls: int
    allowed: int
    denied: int
    waiting: int


def status_of(served: Served) -> TargetStatus:
    """What a listener has come to."""
    allowed = served.counts[Verdict.ALLOW]
    answered = sum(served.counts.values())
    return TargetStatus(
        id=served.target.id,
        name=served.target.name,
        pid=served.pid,
        since=served.since,
        calls=answered + served.gone + len(served.tasks),
        allowed=allowed,
        denied=answered - allowed,
        waiting=len(served.tasks),
    )


def document(
    *,
    since: float,
    now: float,
    targets: Sequence[TargetStatus],
    questions: int,
    totals: Mapping[str, Mapping[str, int]],
    learnt: str | None,
    learnt_calls: int,
    log: str | None,
    log_lost: int,
) -> dict[str, Any]:
    """What is answered to `status`.

    Args:
        since, now: when the monitor began, and the time; seconds since 1970.
        questions: to a person, that are open.
        totals: `Metrics.totals`.
        learnt: the file of --learn, and how many calls it allows.
        log: the file of --log, and how many decisions it could not be given.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "monitor": {
            "pid": os.getpid(),
            "version": __version__,
            "since": timestamp(since),
            "uptime": round(now - since),
        },
        "targets": [{**asdict(one), "since": timestamp(one.since)} for one in targets],
        "questions": questions,
        "decisions": {key: dict(value) for key, value in totals.items()},
        "learning": None if learnt is None else {"file": learnt, "calls": learnt_calls},
        "log": None if log is None else {"file": log, "lost": log_lost},
    }


def path_beside(listener: str) -> str:
    """Where the control socket of a monitor is that listens at a path."""
    return os.path.join(os.path.dirname(os.path.abspath(listener)), CONTROL)


class Control:
    """Answers at a control socket, on the event loop, until it is closed."""

    def __init__(self, listening: Listening, status: Callable[[], Mapping[str, Any]]) -> None:
        """status: gives what is answered; called for each question."""
        self._listening = listening
        self._status = status
        self._own_filters = filters_of("self") or 0
        self._exchanges: Exchanges | None = None

    async def start(self) -> None:
        """Take connections from now on."""
        self._exchanges = Exchanges(
            self._listening.socket, self._answer, end=b"\n", most=_MOST_QUESTION, admits=self._admits
        )

    async def close(self) -> None:
        """Answer no more."""
        if self._exchanges is not None:
            await self._exchanges.close()
        self._listening.close()

    def _admits(self, connection: socket.socket) -> bool:
        return refusal(peer_of(connection), connection, most_filters=self._own_filters) is None

    def _answer(self, question: bytes) -> bytes:
        if question != _STATUS:
            return b'{"error":"the one question is: status"}\n'
        return json.dumps(self._status(), sort_keys=True).encode("ascii") + b"\n"


def ask(path: str) -> dict[str, Any]:
    """The status of the monitor whose control socket is at a path.

    Raises:
        Failure: there is none, it does not answer, or it is another user's.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(exchanges.DEADLINE_S)
        try:
            connection.connect(path)
        except (OSError, ValueError) as error:
            hint = "start one: scmm-monitor; or name its socket: --socket"
            raise Failure(f"no monitor listens at {path}: {reason(error)}", hint) from error
        if os.geteuid() != 0 and peer_of(connection).uid not in (0, os.geteuid()):
            raise Failure(f"the process that listens at {path} is another user's", "remove that socket")
        try:
            connection.sendall(_STATUS)
            answer = _line(connection)
        except OSError as error:
            raise Failure(f"the monitor at {path} does not answer: {reason(error)}") from error
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise Failure(f"the monitor at {path} does not say what it does", "it may be refusing this process")
    if found.get("version") != VERSION:
        raise Failure(f"the monitor at {path} is of another version", "use that version's scmm")
    return found


def _line(connection: socket.socket) -> bytes:
    end = time.monotonic() + exchanges.DEADLINE_S
    pieces: list[bytes] = []
    left = _MOST_ANSWER
    while left > 0 and (piece := connection.recv(min(left, 1 << 16))):
        pieces.append(piece)
        left -= len(piece)
        if time.monotonic() > end:
            raise TimeoutError("it is too slow")
    return b"".join(pieces)
