"""The part about the order of calls, where the policy is to have it: what is told apart, and what is allowed beside.

Asked only with --transitions: who does not watch needs none of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scmm_oci.cli.interview.questions import Asking, Kind, Option, Part, Question
from scmm_oci.cli.interview.world import World
from scmm_oci.policy.choices import Choices
from scmm_oci.policy.infer import stages
from scmm_oci.policy.infer.likely import Likely
from scmm_oci.policy.model import WatchAction
from scmm_oci.policy.paths.proposals import counted

# Choices of how much must speak for what no recording has, and steps that are shown of each.
_CHOICES, _SHOWN = 6, 8

_ALONE, _NONE = "calls", "none"
_REFINE = {
    _ALONE: "calls by their names alone",
    "classes": "classes too: open to read or write, executable memory, families of sockets, programs and threads",
}
_WATCH = {
    WatchAction.COUNT: "it is counted",
    WatchAction.ALERT: "it is told",
    WatchAction.FREEZE: "it is told, and the container is stopped until somebody looks at it",
    WatchAction.KILL: "it is told, and the process is killed",
}


def order_part(world: World, choices: Choices) -> Asking:
    """What the machine tells apart, when another begins to hold, what a watch does, and what is likely."""
    decided = choices.decisions
    if not decided.transitions:
        return choices
    answer = yield Question(
        id=f"{Part.ORDER}/refine",
        title="What does the order of calls tell apart?",
        kind=Kind.ONE,
        options=tuple(Option(key, text) for key, text in _REFINE.items()),
        default="classes" if decided.refine else _ALONE,
        help="With classes less is allowed, and what was not recorded is sooner taken for wrong.",
    )
    choices = choices.changed(refine=answer != _ALONE)
    deep = any(edges.triples for capture in world.captures for edges in capture.order)
    if deep and not any(world.lacking(choices.changed(depth=3, serving_from=()))):
        answer = yield Question(
            id=f"{Part.ORDER}/depth",
            title="How long a history does it look at?",
            kind=Kind.ONE,
            options=(Option("2", "the call before"), Option("3", "the two calls before, where that allows less")),
            default=str(decided.depth),
            help="Attacks that imitate the order of two calls find it harder to imitate that of three.",
        )
        choices = choices.changed(depth=int(str(answer)))
    phases = {",".join(calls) or _NONE: calls for calls in _phases(world, choices)}
    if len(phases) > 1:
        answer = yield Question(
            id=f"{Part.ORDER}/serving",
            title="Does another machine hold once a process serves?",
            kind=Kind.ONE,
            options=tuple(Option(key, _phase(calls)) for key, calls in phases.items()),
            default=",".join(decided.serving_from) or _NONE,
            help="What a server needs to start, such as to execute programs, is then no longer allowed when it serves.",
        )
        choices = choices.changed(serving_from=phases[str(answer)])
    answer = yield Question(
        id=f"{Part.ORDER}/watch",
        title="What happens at a call in any other order, where scmm-watch looks?",
        kind=Kind.ONE,
        options=(
            Option(_NONE, "the policy does not say; it is told"),
            *(Option(one, _WATCH[one]) for one in WatchAction),
        ),
        default=decided.watch if decided.watch is not None else _NONE,
        lines=(world.estimate(choices),),
        help="Before it kills, let it tell for a while: what is then told and harmless is to be recorded as well.",
    )
    choices = choices.changed(watch=None if answer == _NONE else WatchAction(str(answer)))
    likely = world.likely(choices)
    if not likely:
        return choices
    answer = yield Question(
        id=f"{Part.ORDER}/likely",
        title=f"{counted(len(likely), 'step is', 'steps are')} in no recording, but likely. Which are allowed?",
        kind=Kind.ONE,
        options=(Option("0", "none"), *_likely(likely, decided.likely)),
        default=str(decided.likely),
        help="Something that recordings have speaks for them, such as another call that is followed by the same ones.",
    )
    return choices.changed(likely=int(str(answer)))


def _phases(world: World, choices: Choices) -> Iterator[tuple[str, ...]]:
    """What can begin the time for serving; what flags say is among it."""
    yield ()
    accepts = tuple(one for one in stages.ACCEPTS if any(one in stages.made(capture) for capture in world.captures))
    for calls in dict.fromkeys([(stages.LISTEN,), accepts, choices.decisions.serving_from]):
        if calls and not any(world.lacking(choices.changed(serving_from=calls))):
            yield calls


def _phase(calls: Sequence[str]) -> str:
    return f"from {' or '.join(calls)} on" if calls else "no, the same all the time"


def _likely(likely: Sequence[Likely], given: int) -> Iterator[Option]:
    counts = sorted({one.recordings for one in likely}, reverse=True)
    shown = set(counts[:: max(1, -(-len(counts) // _CHOICES))]) | ({given} if given else set())
    for least in sorted(shown, reverse=True):
        those = [one for one in likely if one.recordings >= least]
        more = len(those) - _SHOWN
        preview = [f"{one}: {one.why}" for one in those[:_SHOWN]]
        preview += [f"… and {more} more"] if more > 0 else []
        text = f"the {len(those)} that {counted(least, 'recording or more speaks', 'recordings or more speak')} for"
        yield Option(str(least), text, tuple(preview))
