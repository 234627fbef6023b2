"""The monitor's loop: listeners that have come in, and an answer for every call that waits at one.

What numbers decide is answered at once. All else becomes a task of `monitor.considering`, of which there are so many
and no more: beyond that, calls are denied. Whatever fails in here, the call is denied; and if even that cannot be done
the listener is closed, so that the kernel refuses its calls.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass, field

from scmm_oci.enforcer.monitor import answering, calls, who
from scmm_oci.enforcer.monitor.considering import Considering, result_of
from scmm_oci.enforcer.monitor.model import By, Call, Decision, Process, Subject, Target, Verdict
from scmm_oci.enforcer.monitor.record import Decided
from scmm_oci.enforcer.monitor.rules.decide import Outcome, Ruled, Rules
from scmm_oci.enforcer.monitor.seen import Seen
from scmm_oci.enforcer.monitor.served import Over, Served, Shared
from scmm_oci.enforcer.monitor.sockets import filters_of
from scmm_oci.enforcer.monitor.stuck import Unstuck
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification

# Calls that are considered at a time, of one listener and of all.
MOST_OF_ONE, MOST = 256, 2048
ALWAYS_OF_ONE = 8
# Calls that one listener gets answered before others have their turn.
_TURN = 64
# An error that comes with every call is told so often at most, in seconds.
_TOLD_S = 5.0

_OVERLOAD = Decision(Verdict.DENY, By.OVERLOAD, errno.EPERM, detail="too many calls wait")
_LEARNT = Decision(Verdict.ALLOW, By.LEARNING)


@dataclass(slots=True)
class Options:
    """What holds for all listeners, and can be changed while they are served.

    Attributes:
        learns: what no rule decides is allowed, and told to the sinks.
        watches: somebody wants to know of every call who made it.
    """

    rules: Rules
    learns: bool = False
    watches: bool = False


@dataclass(slots=True)
class Serving:
    """Serves listeners on the running loop.

    Attributes:
        sinks: get each call that was answered; what they raise is told, and never keeps a call from its answer.
        tell: gets what people should know.
        clock: seconds since 1970; now: seconds that only grow.
        waiting: calls that are considered now; gone: calls that were over before they could be answered.
    """

    options: Options
    considering: Considering
    sinks: tuple[Callable[[Decided], None], ...]
    tell: Callable[[str], None]
    clock: Callable[[], float]
    now: Callable[[], float]
    unstuck: Unstuck
    served: dict[int, Served] = field(default_factory=dict)
    waiting: int = 0
    gone: int = 0
    _told: dict[str, float] = field(default_factory=dict)

    def take(self, fd: int, target: Target, most_filters: int | None = None) -> None:
        """Serve a listener from now on, until its last process has ended.

        most_filters: see Served.
        """
        served = Served(fd, target, since=self.clock(), unstuck=self.unstuck, most_filters=most_filters)
        self.served[fd] = served
        asyncio.get_running_loop().add_reader(fd, self._readable, served)
        self.tell(f"{target.name}: served")

    def close(self) -> None:
        """Serve none any more."""
        for one in list(self.served.values()):
            self._drop(one)

    async def finish(self) -> None:
        """The same; calls whose answers the kernel takes at this moment are noted."""
        tasks = [task for one in self.served.values() for task in one.tasks]
        self.close()
        if tasks:
            await asyncio.wait(tasks, timeout=2 * answering.GRACE_S)

    def _drop(self, served: Served) -> None:
        if self.served.pop(served.fd, None) is None:
            return
        asyncio.get_running_loop().remove_reader(served.fd)
        served.close()

    def _readable(self, served: Served) -> None:
        try:
            for _ in range(_TURN):
                call = served.next()
                if call is None:
                    return
                if served.most_filters is not None and not self._judge(served, call):
                    return
                self._asked(served, call)
        except Over:
            self.tell(f"{served.target.name}: ended, {_counted(served)}")
            self._drop(served)
        except Shared:
            self.tell(f"{served.target.name}: another process reads its listener too, and so it is closed")
            self._drop(served)
        except OSError as error:
            self.tell(f"{served.target.name}: its listener fails and is closed: {error.strerror}")
            self._drop(served)

    def _judge(self, served: Served, call: Notification) -> bool:
        """Whether a listener is served whose peer nobody has seen: by the filters of who asks first.

        A runtime's process has the listener's own. One in a sandbox, which may name itself as it likes and would have
        calls made outside of its sandbox, has more, and cannot be rid of them.
        """
        found = filters_of(call.tid) if call.tid > 0 else None
        if not notify.is_waiting(served.fd, call.id):
            return True  # what was read may be another's; nobody is answered, and the next one is judged
        if found is None or served.most_filters is None or found > served.most_filters:
            self.tell(
                f"{served.target.name}: refused: who handed it over had ended, and process {call.tid} is under "
                "another seccomp filter"
            )
            self._drop(served)
            return False
        served.most_filters = None
        return True

    def _asked(self, served: Served, call: Notification) -> None:
        begun = self.now()
        try:
            self._decide(served, call, begun)
        except Exception as error:
            self._failed(served, call, None, begun, error)

    def _decide(self, served: Served, call: Notification, begun: float) -> None:
        """Answer one call, or have it considered."""
        options = self.options
        what = calls.decode(call)
        needs = options.rules.needs(what, served.target)
        process = who.process(served.fd, call) if needs.process or options.watches else None
        served.pid = served.pid or call.tid
        subject = Subject(served.target, what, process)
        if needs.paths or needs.address:
            # A rule before those for memory may decide already, by who asks.
            ruled = options.rules.decide(subject, served.spent, blind=True)
        else:
            ruled = options.rules.decide(subject, served.spent)
        decision = self._settled(ruled) if ruled is not None else None
        if decision is not None:
            answered = answering.answer(served.fd, call, decision)
            self._note(served, what, process, decision, begun, result_of(decision), answered=answered)
            return
        # Whatever others do, a listener has some.
        if len(served.tasks) >= (MOST_OF_ONE if self.waiting < MOST else ALWAYS_OF_ONE):
            answered = answering.answer(served.fd, call, _OVERLOAD)
            self._note(served, what, process, _OVERLOAD, begun, _OVERLOAD.errno, answered=answered)
            return
        if process is None:
            process = who.process(served.fd, call)
        task = asyncio.get_running_loop().create_task(self._consider(served, call, what, process, ruled, begun))
        served.tasks.add(task)
        self.waiting += 1
        task.add_done_callback(lambda over: self._considered(served, over))

    def _settled(self, ruled: Ruled) -> Decision | None:
        if self.options.learns and ruled.index is None and ruled.outcome is not Outcome.PROGRAM:
            return _LEARNT
        return ruled.decision

    async def _consider(
        self,
        served: Served,
        call: Notification,
        what: Call,
        process: Process | None,
        ruled: Ruled | None,
        begun: float,
    ) -> None:
        try:
            done = await self.considering.consider(
                served, call, what, process, ruled, lambda subject: self._by_memory(subject, served)
            )
        except Exception as error:
            self._failed(served, call, process, begun, error)
            return
        self._note(
            served,
            what,
            process,
            done.decision,
            begun,
            done.result,
            answered=done.answered,
            seen=done.seen,
            on_behalf=done.on_behalf,
        )

    def _by_memory(self, subject: Subject, served: Served) -> tuple[Ruled, Decision | None]:
        ruled = self.options.rules.decide(subject, served.spent)
        return ruled, self._settled(ruled)

    def _considered(self, served: Served, task: asyncio.Task[None]) -> None:
        served.tasks.discard(task)
        self.waiting -= 1

    def _note(
        self,
        served: Served,
        what: Call,
        process: Process | None,
        decision: Decision,
        begun: float,
        result: int | None,
        *,
        answered: bool,
        seen: Seen | None = None,
        on_behalf: bool = False,
    ) -> None:
        if not answered:
            served.gone += 1
            self.gone += 1
            return
        served.count(decision)
        decided = Decided(
            at=self.clock(),
            target=served.target,
            call=what,
            decision=decision,
            process=process,
            memory=seen.memory if seen is not None else None,
            paths=seen.paths if seen is not None else None,
            address=seen.address if seen is not None else None,
            waited_s=self.now() - begun,
            result=result,
            on_behalf=on_behalf,
        )
        for sink in self.sinks:
            try:
                sink(decided)
            except Exception as failure:
                self._tell_once(f"{type(failure).__name__}: {failure}")

    def _failed(
        self, served: Served, call: Notification, process: Process | None, begun: float, failure: Exception
    ) -> None:
        """A defect, or a kernel that refuses: the call is denied, and if that cannot be done all of the listener's."""
        why = f"{type(failure).__name__}: {failure}"
        self._tell_once(f"{served.target.name}: a call is denied: {why}")
        denied = Decision(Verdict.DENY, By.FAILURE, detail=why)
        try:
            answered = notify.refuse(served.fd, call.id, denied.errno)
        except OSError:
            self._drop(served)
            return
        self._note(served, calls.decode(call), process, denied, begun, denied.errno, answered=answered)

    def _tell_once(self, message: str) -> None:
        now = self.now()
        if now - self._told.get(message, -_TOLD_S) < _TOLD_S:
            return
        if len(self._told) >= 64:
            self._told.clear()
        self._told[message] = now
        self.tell(message)


def _counted(served: Served) -> str:
    words = [f"{count} {verdict}" for verdict, count in served.counts.items() if count]
    return f"calls: {', '.join(words)}" if words else "no calls"
