"""Questions to people: one at a time on every surface there is, the others wait; no answer in time is none.

Questions with one key are one question. An answer is for all calls that wait with it, but `once`, which is for the call
that is shown, and `kill`, which is for all of the process that is shown. All of it runs on one event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from scmm_oci.enforcer.monitor.model import By
from scmm_oci.enforcer.monitor.questions import Answer, Limits, Question, Reply, Shown, Surface

_K = TypeVar("_K")
_V = TypeVar("_V")

_MINUTE_S = 60.0
_LOOK_S = 1.0  # how often calls that wait are looked at: the kernel says of none that it is gone
_MOST_WAITING = 64  # calls with one question
_MOST_KNOWN = 4096  # questions, and targets, whose numbers are kept


@dataclass(eq=False, slots=True)
class _Waiter:
    question: Question
    reply: asyncio.Future[Reply]


@dataclass(eq=False, slots=True)
class _Group:
    """Calls that wait with one key, the one that is shown first."""

    waiters: list[_Waiter]
    order: int

    @property
    def target(self) -> str:
        return self.waiters[0].question.target.id


class Asking:
    """Questions that wait, and which of them is up.

    Attributes:
        limits: may be others from now on, as may `timeout_s`, how long a question waits in all.
    """

    def __init__(
        self, limits: Limits, timeout_s: float, now: Callable[[], float], surfaces: Iterable[Surface] = ()
    ) -> None:
        self.limits, self.timeout_s, self._now = limits, timeout_s, now
        self._surfaces = list(surfaces)
        self._groups: dict[Hashable, _Group] = {}
        self._current: _Waiter | None = None
        self._number = 0
        self._order = 0
        self._shown: Shown | None = None
        self._turns: OrderedDict[str, int] = OrderedDict()  # target id → when one of its questions was last up
        self._asked: OrderedDict[Hashable, int] = OrderedDict()  # key → how often
        self._begun: OrderedDict[str, deque[float]] = OrderedDict()  # target id → when its last questions began
        self._timer: asyncio.TimerHandle | None = None
        for one in self._surfaces:
            one.attach(self._changed)

    @property
    def pending(self) -> int:
        """How many questions wait."""
        return len(self._groups)

    @property
    def is_anybody_there(self) -> bool:
        """Whether a question would be seen now."""
        return any(one.is_open for one in self._surfaces)

    async def ask(self, question: Question) -> Reply:
        """Wait for the answer. To cancel it takes the question away; who waits beside it waits on."""
        refused = self._refused(question)
        if refused is not None:
            return refused
        waiter = _Waiter(question, asyncio.get_running_loop().create_future())
        group = self._groups.get(question.key)
        if group is None:
            self._order += 1
            group = self._groups[question.key] = _Group([], self._order)
        group.waiters.append(waiter)
        self._arm(question.deadline)
        try:
            self._update()
            return await waiter.reply
        finally:
            if self._remove(waiter):
                self._update()

    def tick(self) -> None:
        """Answer what nobody answers any more. Called by a timer; earlier does no harm."""
        now = self._now()
        self._disarm()
        for waiter in self._waiters():
            if waiter.question.deadline <= now:
                self._settle(waiter, Reply(None, By.TIMEOUT, "nobody answered in time"))
            elif _is_gone(waiter.question):
                self._settle(waiter, Reply(None, By.FAILURE, "the call is gone"))
        deadlines = [waiter.question.deadline for waiter in self._waiters()]
        if deadlines:
            self._arm(min(deadlines))
        self._update()

    def close(self) -> None:
        """Deny what waits, and give the surfaces back."""
        self._dismiss("the monitor ends")
        for one in self._surfaces:
            one.close()
        self._surfaces = []
        self._disarm()

    def _refused(self, question: Question) -> Reply | None:
        """Why it is not asked at all; else it has been counted."""
        now, target, limits = self._now(), question.target.id, self.limits
        if not self.is_anybody_there:
            return Reply(None, By.NOBODY, "there is nobody to ask")
        if question.deadline <= now:
            return Reply(None, By.TIMEOUT, "its time was over before it was asked")
        group = self._groups.get(question.key)
        if group is not None:
            if len(group.waiters) >= _MOST_WAITING:
                return Reply(None, By.OVERLOAD, f"{_MOST_WAITING} calls wait for the same answer")
            return None
        if len(self._groups) >= limits.pending:
            return Reply(None, By.OVERLOAD, f"{limits.pending} questions wait")
        if sum(group.target == target for group in self._groups.values()) >= limits.per_target:
            return Reply(None, By.OVERLOAD, f"{limits.per_target} questions of this target wait")
        begun = self._begun.pop(target, deque())
        while begun and begun[0] <= now - _MINUTE_S:
            begun.popleft()
        _keep(self._begun, target, begun)
        if len(begun) >= limits.per_minute:
            return Reply(None, By.OVERLOAD, f"{limits.per_minute} questions of this target in a minute")
        begun.append(now)
        return None

    def _answer(self, number: int, answer: Answer) -> bool:
        current = self._current
        if current is None or self._shown is None or number != self._number:
            return False
        question = current.question
        if answer not in question.choices or question.deadline <= self._now() or _is_gone(question):
            return False
        if answer is Answer.ONCE:
            chosen = [current]
        elif answer is Answer.KILL:
            chosen = [one for one in self._waiters() if one is current or _same_process(one.question, question)]
        else:
            chosen = list(self._groups[question.key].waiters)
        for one in chosen:
            self._settle(one, Reply(answer, By.PERSON))
        self._update()
        return True

    def _changed(self) -> None:
        """A surface has come or gone."""
        if not self.is_anybody_there:
            self._dismiss("there is nobody left to ask")
        else:
            self._update(again=True)

    def _dismiss(self, why: str) -> None:
        for waiter in self._waiters():
            self._settle(waiter, Reply(None, By.NOBODY, why))
        self._update()

    def _waiters(self) -> list[_Waiter]:
        return [waiter for group in self._groups.values() for waiter in group.waiters]

    def _settle(self, waiter: _Waiter, reply: Reply) -> None:
        self._remove(waiter)
        if not waiter.reply.done():
            waiter.reply.set_result(reply)

    def _remove(self, waiter: _Waiter) -> bool:
        """Whether it was still there."""
        key = waiter.question.key
        group = self._groups.get(key)
        if group is None or waiter not in group.waiters:
            return False
        group.waiters.remove(waiter)
        if not group.waiters:
            del self._groups[key]
        if waiter is self._current:
            self._current = None
        return True

    def _update(self, *, again: bool = False) -> None:
        """Put up what is to be seen now."""
        if self._current is None and self._groups:
            # A target that asks a lot waits for the others' questions; those of one are asked in their order.
            group = min(self._groups.values(), key=lambda one: (self._turns.get(one.target, 0), one.order))
            self._current = group.waiters[0]
            self._number += 1
            self._turns.pop(group.target, None)
            _keep(self._turns, group.target, self._number)
            key = self._current.question.key
            _keep(self._asked, key, self._asked.pop(key, 0) + 1)
        shown = None if self._current is None else self._shown_of(self._current.question)
        if again or shown != self._shown:
            self._shown = shown
            for one in list(self._surfaces):
                one.show(shown)

    def _shown_of(self, question: Question) -> Shown:
        number = self._number
        return Shown(
            number=number,
            question=question,
            times=question.times + self._asked[question.key] - 1,
            waiting=len(self._groups[question.key].waiters) - 1,
            more=len(self._groups) - 1,
            timeout_s=self.timeout_s,
            reply=lambda answer: self._answer(number, answer),
        )

    def _arm(self, deadline: float) -> None:
        """Have `tick` called by then, and soon enough for calls that are gone."""
        loop = asyncio.get_running_loop()
        when = loop.time() + min(_LOOK_S, max(0.0, deadline - self._now()))
        if self._timer is not None and self._timer.when() <= when:
            return
        self._disarm()
        self._timer = loop.call_at(when, self.tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _is_gone(question: Question) -> bool:
    return question.waits is not None and not question.waits()


def _same_process(one: Question, other: Question) -> bool:
    if one.process is None or other.process is None:
        return False
    return one.target.id == other.target.id and one.process.pid == other.process.pid


def _keep(known: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    """Keep a value that is not in it, and not more than so many."""
    known[key] = value
    if len(known) > _MOST_KNOWN:
        known.popitem(last=False)
