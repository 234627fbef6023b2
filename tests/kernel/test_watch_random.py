"""Random machines on random programs: the watch flags what the reference machine does, and nothing else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from support import need
from watching import Kernel, build, call, loaded, policy

from rig import namespace
from scmm_oci.policy.machine import Event, Kind, Machine
from scmm_oci.policy.model import Serving, Transition
from scmm_oci.tables.arch import Arch
from scmm_oci.watch import wire

PLAIN = ("getppid", "getuid", "getgid", "sched_yield")
CLASSES = {"socket:inet": call("socket", 2, 9, 0), "openat:write": call("openat", -100, "@/nowhere/x", 1)}
SOAK = bool(os.environ.get("SCMM_SOAK"))
ROUNDS = 2_000 if SOAK else 25
pytestmark = pytest.mark.timeout(3600 if SOAK else 300)


@pytest.fixture(scope="module")
def kernel(inside: namespace.Entered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    need("KERNEL", None if os.uname().machine == "x86_64" else "the program's numbers are those of x86_64")
    with loaded(tmp_path_factory.mktemp("random")) as found:
        yield found


class Script:
    """A program's words, and what a trace of it has."""

    def __init__(self, random: Random) -> None:
        self.random, self.words, self.events, self.threads = random, [], [], 1
        self.call(1, "getpid", "p")
        self.handler = [self.any_call() for _ in range(random.randrange(3))]
        self.words += ["h,10{", *(CLASSES.get(name, "") or call(name) for name in self.handler), "}"]
        self.call(1, "rt_sigaction")
        self.block(1, depth=0, signals=True)
        self.call(1, "exit_group")

    def any_call(self) -> str:
        return self.random.choice([*PLAIN, *CLASSES])

    def call(self, thread: int, name: str, *words: str) -> None:
        self.events.append(Event(thread, Kind.CALL, name))
        self.words += words

    def block(self, thread: int, *, depth: int, signals: bool) -> None:
        for _ in range(self.random.randrange(2, 9)):
            kind = self.random.choice(["call"] * 5 + ["signal", "fork", "vfork", "thread", "listen"])
            if kind == "call":
                name = self.any_call()
                self.call(thread, name, CLASSES.get(name) or call(name))
            elif kind == "listen" and self.random.random() < 0.5:
                self.call(thread, "listen", call("listen", -1, 1))
            elif kind == "signal" and signals:
                self.call(thread, "kill", "k,10")
                self.events.append(Event(thread, Kind.SIGNAL))
                for name in self.handler:
                    self.call(thread, name)
                self.call(thread, "rt_sigreturn")
            elif kind in ("fork", "vfork", "thread") and depth < 2:
                self.beginning(thread, kind, depth)

    def beginning(self, thread: int, kind: str, depth: int) -> None:
        self.threads += 1
        child = self.threads
        self.call(thread, "clone" if kind == "thread" else kind, {"fork": "f{", "vfork": "v{", "thread": "t{"}[kind])
        self.events.append(Event(thread, Kind.THREAD if kind == "thread" else Kind.FORK, child=child))
        # A signal to a process is any thread's; a process made by fork has to know its own id.
        if kind == "fork":
            self.call(child, "getpid", "p")
        self.block(child, depth=depth + 1, signals=kind == "fork")
        self.call(child, "exit" if kind == "thread" else "exit_group", "}")
        self.events.append(Event(child, Kind.EXIT))
        if kind != "thread":
            self.call(thread, "wait4")


def machines(script: Script, *, serves: bool) -> tuple[dict[str, list[str]], ...]:
    """Rows and lists of three, of start-up and of serving, which have most of what the script does."""
    random = script.random
    nothing = Machine.built((), Serving(("listen",), ()) if serves else None, Arch.X86_64)
    assert nothing is not None
    rows: list[dict[str, list[str]]] = [{}, {}]
    deep: list[dict[str, list[str]]] = [{}, {}]
    kept = random.choice([0.8, 0.95, 1.0])
    for each in nothing.run(script.events):
        at = int(each.serving)
        if random.random() < kept:
            rows[at].setdefault(each.state, []).append(each.to)
        if each.before is not None and each.to != each.state and random.random() < 0.3:
            key = f"{each.before} > {each.state}"
            deep[at].setdefault(key, [])
            if random.random() < kept:
                deep[at][key].append(each.to)
    # From the same place, the kernel could make a call again: every call may follow itself.
    for phase in rows:
        for name in {event.call for event in script.events if event.kind is Kind.CALL}:
            phase.setdefault(name, []).append(name)
    return rows[0], deep[0], rows[1], deep[1]


def transitions(rows: dict[str, list[str]], deep: dict[str, list[str]]) -> tuple[Transition, ...]:
    return tuple(Transition.of(key, tuple(sorted(set(to)))) for key, to in sorted((rows | deep).items()))


def test_the_kernel_judges_as_the_reference_does(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> None:
    program = build(tmp_path_factory.mktemp("watched"))
    flagged = 0
    for seed in range(ROUNDS):
        script = Script(Random(seed))
        serves = bool(seed % 3)
        startup, deep, serving, serving_deep = machines(script, serves=serves)
        if not serves:
            serving, serving_deep = {}, {}
        reference = Machine.built(
            transitions(startup, deep),
            Serving(("listen",), transitions(serving, serving_deep)) if serves else None,
            Arch.X86_64,
        )
        assert reference is not None
        expected = reference.run(script.events)
        file = policy(
            startup,
            serving=serving if serves else None,
            switches=["listen"] if serves else (),
            deep=deep,
            serving_deep=serving_deep,
        )
        with kernel.watch(file) as watched:
            assert watched.run(program, *script.words) == 0, (seed, script.words)
            assert watched.count("violations") == len(expected), (seed, script.words, watched.told, expected)
            if len(expected) <= wire.ALERTS and not watched.count("unreported"):
                told = Counter((*each, alert.serving) for each, alert in zip(watched.told, watched.alerts, strict=True))
                there = Counter((one.before or "", one.state, one.to, one.serving) for one in expected)
                assert told == there, (seed, script.words)
            flagged += len(expected)
    # There is something to tell in them, and there are some in which there is nothing.
    assert flagged > ROUNDS


def test_a_reference_that_is_wrong_is_seen(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Control: another machine than the one that is watched by tells other violations."""
    program = build(tmp_path_factory.mktemp("watched"))
    script = Script(Random(7))
    startup, *_ = machines(script, serves=False)
    broken = {state: following for state, following in startup.items() if state != "getpid"}
    with kernel.watch(policy(broken)) as watched:
        assert watched.run(program, *script.words) == 0
        reference = Machine.built(transitions(startup, {}), None, Arch.X86_64)
        assert reference is not None
        assert watched.count("violations") > len(reference.run(script.events))
