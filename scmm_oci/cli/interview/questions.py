"""What a question and an answer are. Pure data; nothing here asks anybody."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum

from scmm_oci.errors import BadInput, Problem, short
from scmm_oci.policy.choices import Choices, pattern_problems
from scmm_oci.tables import errnos


class Part(StrEnum):
    """The parts of the interview, in their order. A question's id begins with its part."""

    DEFAULT = "default"
    CALLS = "calls"
    FILES = "files"
    ABSENT = "absent"
    NETWORK = "network"
    ARGUMENTS = "arguments"
    ORDER = "order"
    SUMMARY = "summary"


TITLES = {
    Part.DEFAULT: "default action",
    Part.CALLS: "system calls",
    Part.FILES: "files",
    Part.ABSENT: "missing and created files",
    Part.NETWORK: "network",
    Part.ARGUMENTS: "arguments",
    Part.ORDER: "order of calls",
    Part.SUMMARY: "summary",
}


class Kind(StrEnum):
    """How a question is answered: with one of its options, any of them, or a text."""

    ONE = "one"
    MANY = "many"
    PATTERN = "pattern"
    ERRNO = "errno"


@dataclass(frozen=True)
class Option:
    """One thing to choose.

    Attributes:
        key: what the answer says; kept in session files.
        label: what is shown for it; ``preview``: what is shown beside it when it is looked at.
        warning: it is dangerous, or opens a protected place.
    """

    key: str
    label: str
    preview: tuple[str, ...] = ()
    warning: bool = False


# The key of an option, the keys of several in the order of the options, or a text.
Answer = str | tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question; ``id`` is the same whenever it is asked. ``lines`` say what was seen, ``help`` what choices mean."""

    id: str
    title: str
    kind: Kind
    options: tuple[Option, ...] = ()
    lines: tuple[str, ...] = ()
    default: Answer = ""
    help: str = ""

    @property
    def part(self) -> Part:
        """The part that it belongs to."""
        return Part(self.id.partition("/")[0])


# A part of the interview: it asks, hears, and ends with the choices as they are then.
Asking = Generator[Question, Answer, Choices]


def check(question: Question, answer: object) -> Answer:
    """The answer, if it is one to the question.

    Raises:
        BadInput: it is not; the message is for whoever typed it.
    """
    keys = [one.key for one in question.options]
    if question.kind is Kind.ONE:
        if isinstance(answer, str) and answer in keys:
            return answer
    elif question.kind is Kind.MANY:
        if isinstance(answer, (tuple, list)) and all(one in keys for one in answer):
            return tuple(key for key in keys if key in answer)
    elif isinstance(answer, str):
        found = pattern_problems("", answer) if question.kind is Kind.PATTERN else []
        if question.kind is Kind.ERRNO and errnos.number(answer) is None:
            found = [errnos.unknown("", answer)]
        if found:
            raise BadInput(found)
        return answer
    raise BadInput([Problem(question.id, f"{short(answer)} is no answer to this")])
