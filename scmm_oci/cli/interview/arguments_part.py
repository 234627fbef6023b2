"""The part about arguments: which must be as they were seen, calls whose arguments no filter sees, other libraries."""

from __future__ import annotations

from scmm_oci.cli.interview.questions import Asking, Kind, Option, Part, Question
from scmm_oci.cli.interview.world import World
from scmm_oci.policy.choices import Choices
from scmm_oci.policy.decisions import ArgumentRules, Unseen
from scmm_oci.policy.infer import calls as infer_calls
from scmm_oci.policy.infer.arguments import argument_rules
from scmm_oci.tables import families
from scmm_oci.tables.sensitive import DANGEROUS, SENSITIVE

_RULES = {
    ArgumentRules.SENSITIVE: "those that decide what a call can do",
    ArgumentRules.ALL: "all that were recorded",
    ArgumentRules.NONE: "none",
}
# A call and the index of an argument, or of the first of two that were recorded together.
_Place = tuple[str, int]


def arguments_part(world: World, choices: Choices) -> Asking:
    """Which arguments are checked, what becomes of unseen ones, and whether the policy is for other libraries too."""
    every = _places(world, choices, ArgumentRules.ALL)
    if every:
        sensitive = [place for place in every if place[1] in SENSITIVE.get(place[0], ())]
        answer = yield Question(
            id=f"{Part.ARGUMENTS}/rules",
            title="Which arguments must be as they were seen?",
            kind=Kind.ONE,
            options=tuple(
                Option(one, text, tuple(map(_place, sensitive)) if one is ArgumentRules.SENSITIVE else ())
                for one, text in _RULES.items()
            ),
            default=choices.decisions.arguments,
            help="The more is checked, the more likely is a refusal of something harmless that was not seen.",
        )
        choices = choices.changed(arguments=ArgumentRules(str(answer)))
        if choices.decisions.arguments is not ArgumentRules.NONE:
            choices = yield from _each(world, choices)
    choices = yield from _unseen(world, choices)
    return (yield from _portable(world, choices))


def _each(world: World, choices: Choices) -> Asking:
    values = _places(world, choices, choices.decisions.arguments)
    if not values:
        return choices
    decided = choices.decisions
    width = max(len(_place(place)) for place in values)
    answer = yield Question(
        id=f"{Part.ARGUMENTS}/{decided.arguments}",
        title="Which of them are checked?",
        kind=Kind.MANY,
        options=tuple(
            Option(_place(place), f"{_place(place):<{width}}  {' '.join(words)}", words, place[0] in DANGEROUS)
            for place, words in values.items()
        ),
        default=tuple(_place(place) for place in values if place not in decided.leave_open),
        help="One that is not chosen may have any value.",
    )
    checked = {place for place in values if _place(place) in answer}
    opened = (decided.leave_open - checked) | (values.keys() - checked)
    return choices.changed(leave_open=frozenset(opened), check=frozenset(decided.check - opened))


def _unseen(world: World, choices: Choices) -> Asking:
    tallies = world.seen(choices).tallies
    allowed = infer_calls.actions(tallies, choices.decisions)
    newer = [name for name in infer_calls.OLDER if name in allowed and allowed[name].passes]
    if not newer:
        return choices
    older = " and ".join(infer_calls.OLDER[name] for name in newer)
    answer = yield Question(
        id=f"{Part.ARGUMENTS}/unseen",
        title=f"{' and '.join(newer)} have flags that no filter sees. What becomes of them?",
        kind=Kind.ONE,
        options=(
            Option(Unseen.ALLOW, "allow them with any flags"),
            Option(Unseen.ENOSYS, f"answer ENOSYS: C libraries then take {older}, whose flags are checked"),
        ),
        default=choices.decisions.unseen,
        help="The flags lie in memory, which a program can change after the check.",
    )
    return choices.changed(unseen=Unseen(str(answer)))


def _portable(world: World, choices: Choices) -> Asking:
    seen = world.seen(choices)
    actions = infer_calls.actions(seen.tallies, choices.decisions)
    allowed = {name for name, action in actions.items() if action.passes}
    more = {name: why for name, why in families.wider(allowed, seen.settings.arch).items() if name not in actions}
    if not more:
        return choices
    answer = yield Question(
        id=f"{Part.ARGUMENTS}/portable",
        title="Is the policy for other kernels and C libraries too?",
        kind=Kind.ONE,
        options=(
            Option("no", "no: what was seen is enough"),
            Option(
                "yes",
                f"yes: allow {len(more)} calls more that do the same jobs",
                tuple(f"{name}: as {', '.join(why)}" for name, why in sorted(more.items())),
            ),
        ),
        default="yes" if choices.decisions.portable else "no",
    )
    return choices.changed(portable=answer == "yes")


def _place(place: _Place) -> str:
    return f"{place[0]}:{place[1]}"


def _places(world: World, choices: Choices, rules: ArgumentRules) -> dict[_Place, tuple[str, ...]]:
    """The arguments that would be checked, with the names of the values that were seen; of calls that are allowed."""
    decided = choices.changed(arguments=rules, leave_open=frozenset(), unseen=Unseen.ALLOW).decisions
    allowed = infer_calls.actions(world.seen(choices).tallies, choices.decisions)
    pairs = {
        (one.name, one.indexes[1]): (one.name, one.indexes[0])
        for capture in world.captures
        for one in capture.arguments
        if one.name is not None and len(one.indexes) == 2
    }
    found: dict[_Place, dict[str, None]] = {}
    for name, sets in sorted(argument_rules(world.captures, decided, []).items()):
        if name not in allowed or not allowed[name].passes:
            continue
        for constraint in (one for constraints in sets for one in constraints):
            place = pairs.get((name, constraint.arg), (name, constraint.arg))
            found.setdefault(place, {}).update(dict.fromkeys(constraint.allowed))
    return {place: tuple(words) for place, words in sorted(found.items())}
