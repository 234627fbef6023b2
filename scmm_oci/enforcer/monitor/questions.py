"""What people are asked and say, as values, and what a surface is where they see it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from scmm_oci.enforcer.monitor.model import By, Call, Process, Target


class Answer(StrEnum):
    """What a person says."""

    ALWAYS = "always"  # allow, and save
    RUN = "run"  # allow, for this run
    ONCE = "once"  # allow this call
    DENY = "deny"
    NEVER = "never"  # deny, and save
    KILL = "kill"  # the process


EVERY = frozenset(Answer)


class Limits(Protocol):
    """How much is asked at most; more is denied.

    pending: questions that wait. per_target: the same of one target. per_minute: new questions of one target.
    """

    @property
    def pending(self) -> int: ...
    @property
    def per_target(self) -> int: ...
    @property
    def per_minute(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Question:
    """A call that a person decides about.

    Attributes:
        key: what the answer is about; calls with equal keys are asked about together, so it holds all that matters.
        words: the call, decoded; text in it is what the program says.
        deadline: seconds, of the clock that Asking has.
        paths: looked at and held: the call is made with these files and no others.
        address: the same of a socket address, or "".
        claimed: paths and addresses that the program names, and can still change before they count.
        times: how often this was asked before that Asking does not know of.
        choices: what may be answered.
        waits: whether the call still waits; None where that cannot be told.
    """

    key: Hashable
    target: Target
    process: Process | None
    call: Call
    words: str
    deadline: float
    paths: tuple[str, ...] = ()
    address: str = ""
    claimed: tuple[str, ...] = ()
    times: int = 0
    choices: frozenset[Answer] = EVERY
    waits: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a question. Without an answer, `by` and `detail` say why: timeout, nobody, overload, failure."""

    answer: Answer | None
    by: By
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """The question that is up.

    Attributes:
        number: of this showing; another call, or another question, has another.
        times: how often it was asked before.
        waiting: calls beside this one that wait for the same answer.
        more: other questions that wait.
        timeout_s: how long a question waits in all.
        reply: gives an answer; False if it came too late, or is no choice.
    """

    number: int
    question: Question
    times: int
    waiting: int
    more: int
    timeout_s: float
    reply: Callable[[Answer], bool] = field(compare=False)


class Surface(Protocol):
    """Where somebody may see a question."""

    @property
    def is_open(self) -> bool:
        """Whether anybody can answer there now."""

    def attach(self, changed: Callable[[], None]) -> None:
        """Take a function to call, on the loop, whenever is_open may have changed."""

    def show(self, shown: Shown | None) -> None:
        """Show this question in place of any other, or none. Called anew when its numbers change. Never blocks."""

    def close(self) -> None:
        """Leave everything there as it was."""
