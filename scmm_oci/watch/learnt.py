"""Alerts → a policy that holds just the steps they tell of, to be merged with the one that was watched. Pure.

Whether a step should be allowed is for a person to say, so what is made is a text to look through. All else in it is as
restrictive as can be, and of the sections of the policy alone: merging adds these steps and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from scmm_oci.errors import Finding, printable
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.infer.likely import GUARDED
from scmm_oci.policy.machine import ANY, Machine
from scmm_oci.policy.model import (
    Action,
    LandlockScope,
    Metadata,
    Network,
    Policy,
    Serving,
    Transition,
)
from scmm_oci.policy.render import dump
from scmm_oci.schema import Steps
from scmm_oci.tables import states
from scmm_oci.tables.arch import Arch
from scmm_oci.watch import words
from scmm_oci.watch.words import Event

MADE_BY = "scmm-watch --learn"

_HEAD = """\
Made by scmm-watch --learn: the steps that alerts tell of, and nothing else. Take out what is not to be allowed, then
  scmm merge POLICY THIS -o NEW
with the policy that was watched. All else is refused here, so that merging adds these steps and nothing else."""
_MOST_PROGRAMS = 3  # named of a step


@dataclass(frozen=True)
class Step:
    """A step that alerts tell of and the policy lacks.

    Attributes:
        serving: whether it is one of the policy's section `serving`.
        before: what was before `state`, where the policy looks that far back; empty: whatever it was.
        state, to: what was made after what, in words as fine as the policy's.
        example: the last alert of it; count: how many there are.
        programs: paths of executables, each once, sorted.
    """

    serving: bool
    before: str
    state: str
    to: str
    example: Event
    count: int
    programs: tuple[str, ...]

    @property
    def key(self) -> str:
        """What stands in front of the list in the policy."""
        return Transition(self.state, (self.to,), self.before).key

    @property
    def guarded(self) -> bool:
        """Whether it leads to what attacks are after."""
        return self.example["edge"]["to"] in GUARDED

    def __str__(self) -> str:
        """The line for it, as YAML has it on one line, and what is known of it. Safe to print."""
        place = "serving.transitions" if self.serving else "transitions"
        return printable(f"{place}: {self.key}: [{self.to}]  # {self.told}")

    @property
    def told(self) -> str:
        """How often, by whom and how it was made."""
        shown = [repr(one) for one in self.programs[:_MOST_PROGRAMS]]
        more = len(self.programs) - len(shown)
        by = ", ".join([*shown, *([f"{more} more"] if more else [])]) or "?"
        after = "; what attacks are after" if self.guarded else ""
        return printable(f"{self.count}× by {by}: {words.what(self.example)}{after}")


@dataclass(frozen=True)
class Delta:
    """What was learnt: the steps, the policy that holds them alone, and what is to be said of the rest."""

    steps: tuple[Step, ...]
    policy: Policy
    findings: tuple[Finding, ...]


def delta(policy: Policy, events: Iterable[Event], *, names: Sequence[str]) -> Delta:
    """What alerts tell that the policy lacks, as a policy.

    Args:
        policy: the one that was watched, which has transitions; or one that has been made of it since.
        events: as scmm_oci.watch.words makes them; what is no alert is passed over.
        names: whose alerts they are, for the policy's metadata.
    """
    findings: list[Finding] = []
    machines: dict[str, Machine | None] = {}
    found: dict[tuple[bool, str, str, str], Step] = {}
    missing: set[str] = set()
    missed = 0
    latest = ""
    for event in events:
        missed += _missed(event)
        if event["type"] != "alert" or event["kind"] == "left":
            continue
        reason = _unlearnable(event, policy)
        if reason is not None:
            findings.append(reason)
            continue
        arch = event["arch"]
        if arch not in machines:
            machines[arch] = Machine.of(policy, Arch(arch))
        serving = event["phase"] == "serving" and policy.serving is not None
        edge = event["edge"]
        machine = machines[arch]
        if machine is None or machine.allows(edge["before"], edge["from"], edge["to"], serving=serving):
            continue  # the policy has it by now
        step = _step(policy, event, serving)
        if not _passes(policy, event):
            missing.add(event["call"]["name"])
        latest = max(latest, event["time"])
        key = (serving, step.before, step.state, step.to)
        known = found.get(key)
        if known is not None:
            programs = tuple(sorted({*known.programs, *step.programs}))
            step = replace(step, count=known.count + 1, programs=programs)
        found[key] = step
    if missed:
        message = f"{missed} more violations have no alert here"
        findings.append(Finding("alerts-missed", message, "watch on with what this adds: what is missing comes again"))
    if missing:
        message = (
            f"as they were made, the policy's rules refuse {', '.join(sorted(missing))}; a step does not change that"
        )
        findings.append(
            Finding("call-not-allowed", message, "where the policy is enforced, too, it takes rules for them")
        )
    steps = tuple(found[key] for key in sorted(found))
    return Delta(steps, _policy(policy, steps, names, latest), tuple(dict.fromkeys(findings)))


def text(made: Delta) -> bytes:
    """The delta as a policy file; above each line stands where it comes from, and at the head what is not in it."""
    notes = "".join(f"\nnote: {finding}" for finding in made.findings)
    comments: dict[Steps, str] = {("metadata",): _HEAD + notes}
    for step in made.steps:
        place: Steps = (*(("serving",) if step.serving else ()), "transitions", step.key)
        line = f"{step.to}: {step.told}"
        comments[place] = f"{comments[place]}\n{line}" if place in comments else line
    return dump(made.policy, comments=comments)


def _missed(event: Event) -> int:
    """How many violations an event tells of that no alert does."""
    if event["type"] == "gap":
        return int(event["missed"])
    return int((event["counters"] or {}).get("unreported", 0)) if event["type"] == "ended" else 0


def _unlearnable(event: Event, policy: Policy) -> Finding | None:
    """Why no step of the policy's would allow it."""
    what = printable(words.what(event))
    if event["kind"] == "no-handler":
        return Finding("never-right", f"{what}: no policy allows that", "the program's stack may have been forged")
    if event["kind"] == "no-machine" or event["arch"] not in policy.settings.architectures:
        return Finding(
            "other-abi", f"{what}: a step cannot say it", "record it: scmm record, scmm extract --transitions"
        )
    edge = event["edge"]
    known = states.numbers(event["arch"])
    if edge["from"] == ANY:
        message = f"{what}: after which call is not known"
        return Finding("past-not-known", message, "watch the container from its start, or record it")
    if edge["from"] not in known or edge["to"] not in states.called(event["arch"]):
        return Finding("unnamed-call", f"{what}: no policy can name it")
    return None


def _step(policy: Policy, event: Event, serving: bool) -> Step:
    edge, process = event["edge"], event["process"]
    section = policy.serving.transitions if serving and policy.serving is not None else policy.transitions or ()
    every = [*(policy.transitions or ()), *(policy.serving.transitions if policy.serving else ())]
    fine = any(":" in word for one in every for word in (one.before, one.call, *one.to))
    state, to = (word if fine else _coarse(word) for word in (edge["from"], edge["to"]))
    before = edge["before"] if any(one.before for one in section) else None
    if before is None or edge["from"] in states.BEGINNINGS or edge["from"] == edge["to"]:
        before = ""
    before = before if fine else _coarse(before)
    programs = (process["executable"],) if process["executable"] else ()
    return Step(serving, "" if before == state else before, state, to, event, 1, programs)


def _coarse(word: str) -> str:
    """The word as a policy has it that tells no classes apart."""
    return states.START if word in states.STARTS else states.call_of(word) or word


def _passes(policy: Policy, event: Event) -> bool:
    """Whether the policy's rules let the call pass, with its arguments."""
    call = event["call"]
    return Answers(policy, Arch(event["arch"])).of(call["name"], dict(enumerate(call["args"]))).action.passes


def _policy(policy: Policy, steps: Sequence[Step], names: Sequence[str], latest: str) -> Policy:
    by_phase: dict[bool, dict[tuple[str, str], list[str]]] = {False: {}, True: {}}
    for step in steps:
        by_phase[step.serving].setdefault((step.before, step.state), []).append(step.to)
    starting, serving = (_transitions(by_phase[phase]) for phase in (False, True))
    return Policy(
        metadata=Metadata(
            name=policy.metadata.name,
            generated_from=f"{MADE_BY}: {', '.join(map(printable, names))}",
            generated_at=f"{latest[:19]}Z" if latest else None,
        ),
        settings=replace(policy.settings, default_action=Action.KILL),
        capabilities=None if policy.capabilities is None else (),
        filesystem=None if policy.filesystem is None else (),
        network=None if policy.network is None else Network(),
        scopes=None if policy.scopes is None else tuple(LandlockScope),
        transitions=None if policy.transitions is None else starting,
        serving=None if policy.serving is None else Serving(policy.serving.calls, serving),
        watch=policy.watch,
    )


def _transitions(given: Mapping[tuple[str, str], Sequence[str]]) -> tuple[Transition, ...]:
    found = (Transition(state, tuple(sorted(to)), before) for (before, state), to in given.items())
    return tuple(sorted(found, key=lambda one: (one.call, one.before)))
