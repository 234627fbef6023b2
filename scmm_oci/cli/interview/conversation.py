"""An interview as it goes on: takes answers, undoes, reopens, keeps everything, and ends. Knows no terminal."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from scmm_oci.cli.interview import course
from scmm_oci.cli.interview.course import Did, Event, Position
from scmm_oci.cli.interview.questions import TITLES, Kind, Option, Part, Question, check
from scmm_oci.cli.interview.world import World
from scmm_oci.cli.made import in_short, made, patterns_in_short
from scmm_oci.policy.choices import Choices


class Outcome(StrEnum):
    """How an interview ends. STOPPED is Ctrl-C."""

    WRITE = "write"
    LATER = "later"
    QUIT = "quit"
    STOPPED = "stopped"


class Conversation:
    """One interview.

    Attributes:
        question: the present one; the last is what becomes of the policy.
        choices: as they are so far; once everything is answered, what the policy is made with.
    """

    def __init__(
        self,
        world: World,
        initial: Choices,
        *,
        events: tuple[Event, ...] = (),
        keep: Callable[[tuple[Event, ...]], None] = lambda _: None,
    ) -> None:
        """
        Args:
            events: what has been done before, when an interview is resumed.
            keep: called with everything that was done, after each step.
        """
        self._world, self._initial, self._keep = world, initial, keep
        self._go(events)

    def answer(self, answer: object) -> Outcome | None:
        """Take an answer; the outcome if it ends the interview.

        Raises:
            BadInput: it is no answer to the question.
        """
        good = check(self.question, answer)
        if self.question.part is not Part.SUMMARY:
            self._do(Event(Did.ANSWER, self.question.id, good))
            return None
        word = str(good)
        if word in set(Part):
            self._do(Event(Did.REOPEN, word))
            return None
        return Outcome(word)

    def undo(self) -> bool:
        """Take the last step back; False where there is none."""
        if not course.can_undo(self.events):
            return False
        self._do(Event(Did.UNDO))
        return True

    def where(self) -> str:
        """The present part and question, in words."""
        parts = list(Part)
        part = self.question.part
        return f"{TITLES[part]} ({parts.index(part) + 1} of {len(parts)}), question {self._asked + 1}"

    def _do(self, event: Event) -> None:
        self._go((*self.events, event))
        self._keep(self.events)

    def _go(self, events: tuple[Event, ...]) -> None:
        now = course.position(self._world, self._initial, events)
        question = now.question if now.question is not None else self._summary(now)
        self.events, self.question, self.choices, self._asked = events, question, now.choices, now.asked

    def _summary(self, now: Position) -> Question:
        inference = self._world.infer(now.choices)
        found = made(inference, now.choices)
        told = [f"note: {finding}" for finding in inference.findings]
        options = [Option(Outcome.WRITE, "write the policy", (*patterns_in_short(found), *told))]
        options += [Option(part, f"change: {TITLES[part]}") for part in now.parts]
        options += [Option(Outcome.LATER, "save the answers for later, and write nothing")]
        options += [Option(Outcome.QUIT, "quit: forget the answers, and write nothing", warning=True)]
        findings = f"findings: {len(told)}" if told else "findings: none"
        return Question(
            id=f"{Part.SUMMARY}/end",
            title="That is the policy. What becomes of it?",
            kind=Kind.ONE,
            options=tuple(options),
            lines=(*in_short(found), findings),
            default=Outcome.WRITE,
            help="A part that is opened again asks its questions with the answers that you gave.",
        )
