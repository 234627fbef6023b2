"""Calls that numbers do not decide: their memory is looked at, somebody is asked, what was said before is remembered.

Runs beside the loop's other work, one task for each call. Where memory decided, an allowed call is made by us with what
was looked at; it never goes on by itself, as its memory can be another by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scmm_oci.enforcer.monitor import answering, calls
from scmm_oci.enforcer.monitor.asking import Asking
from scmm_oci.enforcer.monitor.behalf import table
from scmm_oci.enforcer.monitor.behalf.deputies import Deputies, Impossible, Resolution
from scmm_oci.enforcer.monitor.memory import Reader, Unreadable
from scmm_oci.enforcer.monitor.model import By, Call, Decision, Memory, Process, Subject, Verdict
from scmm_oci.enforcer.monitor.program import Program
from scmm_oci.enforcer.monitor.program_questions import question_of
from scmm_oci.enforcer.monitor.questions import EVERY, Answer, Question
from scmm_oci.enforcer.monitor.remembered import Key, Remembered
from scmm_oci.enforcer.monitor.rules.decide import Outcome, Ruled
from scmm_oci.enforcer.monitor.rules.model import Remember
from scmm_oci.enforcer.monitor.seen import Seen
from scmm_oci.enforcer.monitor.served import Served
from scmm_oci.enforcer.monitor.threads import Threads
from scmm_oci.errors import Failure
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification

# What may be answered, by what the rule lets be remembered.
_CHOICES = {
    Remember.ALWAYS: EVERY,
    Remember.ONCE: EVERY - {Answer.ALWAYS, Answer.NEVER},
    Remember.NEVER: EVERY - {Answer.ALWAYS, Answer.NEVER, Answer.RUN},
}
_TOLD_S = 60.0
# Threads that hand descriptors over, of all and of one listener: each waits until its caller runs.
_MOST_HANDING, _EACH_HANDING = 32, 4
_MEANS = {
    Answer.ALWAYS: Verdict.ALLOW,
    Answer.RUN: Verdict.ALLOW,
    Answer.ONCE: Verdict.ALLOW,
    Answer.DENY: Verdict.DENY,
    Answer.NEVER: Verdict.DENY,
    Answer.KILL: Verdict.KILL,
}


@dataclass(frozen=True, slots=True)
class Considered:
    """What became of a call.

    Attributes:
        answered: whether somebody still waited.
        result: the errno that the caller got, 0 for none; None where the kernel makes the call.
        on_behalf: the call was made here.
    """

    decision: Decision
    answered: bool
    result: int | None
    seen: Seen
    on_behalf: bool = False


class Considering:
    """All that it takes beyond numbers.

    Attributes:
        timeout_s: how long a question waits for its answer.
    """

    def __init__(
        self,
        *,
        reader: Reader,
        deputies: Deputies,
        asking: Asking,
        program: Program | None,
        remembered: Remembered | None,
        tell: Callable[[str], None],
        now: Callable[[], float],
        timeout_s: float,
    ) -> None:
        """tell: gets what people should know, once it happens; now: the clock of `asking`."""
        self.timeout_s = timeout_s
        self._reader = reader
        self._handing = Threads(most=_MOST_HANDING, each=_EACH_HANDING)
        self._deputies = deputies
        self._asking = asking
        self._program = program
        self._remembered = remembered
        self._tell = tell
        self._now = now
        self._quiet_until = now()

    async def consider(
        self,
        served: Served,
        call: Notification,
        what: Call,
        process: Process | None,
        ruled: Ruled | None,
        decide: Callable[[Subject], tuple[Ruled, Decision | None]],
    ) -> Considered:
        """Decide and answer one call.

        Args:
            ruled: what numbers came to: somebody is asked. None where memory is what rules look at.
            decide: what the rules say of all that was looked at, and the decision if nobody has to be asked.
        """
        resolution: Resolution | None = None
        seen = Seen()
        try:
            seen = Seen(await self._look(served.fd, call, what, needed=ruled is None))
            if seen.memory is not None and table.can(what):
                resolution = await self._resolve(served.fd, call, what, seen.memory, needed=ruled is None)
            if resolution is not None:
                if resolution.error:
                    # Where its names lead nowhere for the process itself, there is nothing to decide.
                    nowhere = Decision(Verdict.DENY, By.NOWHERE, resolution.error)
                    return self._simply(served.fd, call, nowhere, seen)
                seen = Seen(seen.memory, resolution.paths, is_held=True)
            by_memory = ruled is None
            decision = None
            if ruled is None:
                ruled, decision = decide(Subject(served.target, what, process, seen.paths, seen.address))
                by_memory = ruled.looked
            if decision is None:
                decision = await self._decide(served, call, what, process, seen, ruled)
                by_memory = by_memory or seen.is_held
            if decision.verdict is not Verdict.ALLOW or not (by_memory or decision.path is not None):
                return self._simply(served.fd, call, decision, seen)
            if resolution is not None:
                answered, decision, error = await answering.make(served.fd, call, decision, resolution, self._handing)
                return Considered(decision, answered, error, seen, on_behalf=decision.verdict is Verdict.ALLOW)
            why = "allowed by what its memory says, and cannot be made on its behalf"
            decision = Decision(Verdict.DENY, By.FAILURE, detail=why)
            return self._simply(served.fd, call, decision, seen)
        except (Unreadable, Impossible) as error:
            failed = Decision(Verdict.DENY, By.FAILURE, detail=str(error))
            return self._simply(served.fd, call, failed, seen)
        finally:
            if resolution is not None:
                resolution.abandon()

    async def _look(self, fd: int, call: Notification, what: Call, *, needed: bool) -> Memory | None:
        if not calls.points(what):
            return None
        try:
            return await self._reader.read(fd, call, what)
        except Unreadable:
            if needed:
                raise
            return None

    async def _resolve(
        self, fd: int, call: Notification, what: Call, memory: Memory, *, needed: bool
    ) -> Resolution | None:
        try:
            return await self._deputies.resolve(fd, call, what, memory)
        except Impossible:
            if needed:
                raise
            return None

    def _simply(self, fd: int, call: Notification, decision: Decision, seen: Seen) -> Considered:
        return Considered(decision, answering.answer(fd, call, decision), result_of(decision), seen)

    async def _decide(
        self,
        served: Served,
        call: Notification,
        what: Call,
        process: Process | None,
        seen: Seen,
        ruled: Ruled,
    ) -> Decision:
        words = calls.words(what, seen.memory)
        if ruled.outcome is Outcome.PROGRAM:
            if self._program is None:
                return Decision(Verdict.DENY, By.NOBODY, ruled.errno, detail="there is no program to decide")
            return await self._program.decide(
                question_of(served.target, what, process, seen, words), number=ruled.errno
            )
        executable = process.executable if process is not None else None
        key = Key(served.target.name, executable or "", what.name or str(what.nr), seen.detail(what))
        keeps = ruled.remember is not Remember.NEVER
        known = self._known(served, key, ruled) if keeps else None
        if known is not None:
            return known
        question = Question(
            key=key if keeps else (key, call.id),
            target=served.target,
            process=process,
            call=what,
            words=words,
            deadline=self._now() + self.timeout_s,
            paths=seen.paths or (),
            address=calls.address_words(seen.address) if seen.address is not None and seen.is_held else "",
            claimed=seen.claimed,
            choices=_CHOICES[ruled.remember],
            waits=lambda: notify.is_waiting(served.fd, call.id),
        )
        reply = await self._asking.ask(question)
        if reply.answer is None:
            if reply.by is By.NOBODY:
                self._tell_of_nobody(served, what)
            return Decision(Verdict.DENY, reply.by, ruled.errno, detail=reply.detail)
        decision = Decision(_MEANS[reply.answer], By.PERSON, ruled.errno, detail=reply.answer.value)
        if reply.answer in (Answer.ALWAYS, Answer.NEVER):
            held = Subject(served.target, what, process, seen.paths, seen.address if seen.is_held else None)
            if not self._save(key, decision, held):
                served.remember(key, decision)
        elif reply.answer is Answer.RUN:
            served.remember(key, decision)
        return decision

    def _tell_of_nobody(self, served: Served, what: Call) -> None:
        """Now and then: whoever has a monitor in the background sees programs fail, and does not know why."""
        if self._now() >= self._quiet_until:
            self._quiet_until = self._now() + _TOLD_S
            told = f"{served.target.name}: {what.name or what.nr} was denied: there is nobody to ask"
            self._tell(f"{told} (bring the monitor to the foreground of its terminal, or give it --rules or --default)")

    def _known(self, served: Served, key: Key, ruled: Ruled) -> Decision | None:
        """What was answered before: in this run, or, where the rule lets it be saved, in any."""
        known = served.said.get(key)
        if known is None and self._remembered is not None and ruled.remember is Remember.ALWAYS:
            known = self._remembered.find(key)
        return known

    def _save(self, key: Key, decision: Decision, subject: Subject) -> bool:
        """Whether the answer holds for later runs; if not, why has been told."""
        if self._remembered is None:
            self._tell("the answer holds for this run: there is no file of decisions (--decisions)")
            return False
        try:
            self._remembered.save(key, decision, subject=subject)
        except Failure as error:
            self._tell(f"the answer holds for this run: {error}")
            return False
        return True


def result_of(decision: Decision) -> int | None:
    """The errno with which a call ends that is answered by numbers alone; None where the kernel makes it."""
    match decision.verdict:
        case Verdict.ALLOW:
            return None
        case Verdict.RETURN:
            return 0
    return decision.errno
