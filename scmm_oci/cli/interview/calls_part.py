"""The parts about calls: the default action, and what becomes of each category."""

from __future__ import annotations

from scmm_oci.cli.interview.questions import Asking, Kind, Option, Part, Question
from scmm_oci.cli.interview.world import World
from scmm_oci.policy.choices import Choices
from scmm_oci.policy.decisions import CategoryChoice
from scmm_oci.policy.infer.observe import Tally
from scmm_oci.policy.model import Action
from scmm_oci.policy.paths.proposals import counted
from scmm_oci.tables.categories import Category, category_of
from scmm_oci.tables.sensitive import DANGEROUS

_SHOWN = 5

_DEFAULTS = {
    Action.DENY: "deny: they are answered with an error",
    Action.LOG: "log only: they are allowed, and the kernel logs them",
    Action.KILL: "kill: they end the process",
    Action.TRAP: "trap: they raise SIGSYS",
    Action.ALLOW: "allow: only what the policy denies is denied",
}
_ERRNOS = {
    "EPERM": "EPERM, operation not permitted: what engines answer",
    "ENOSYS": "ENOSYS, no such call: C libraries then try an older one",
    "EACCES": "EACCES, permission denied",
}


def default_part(world: World, choices: Choices) -> Asking:
    """What happens to calls outside the policy, and what they are answered."""
    del world  # it is asked whatever was seen
    usual = choices.decisions.default_action
    words = dict(_DEFAULTS)
    words.setdefault(usual, str(usual))
    answer = yield Question(
        id=f"{Part.DEFAULT}/action",
        title="What happens to system calls outside the policy?",
        kind=Kind.ONE,
        options=tuple(Option(one, text, warning=one is Action.ALLOW) for one, text in words.items()),
        default=usual,
        help="A policy that only logs is for trying out: it holds nothing back.",
    )
    choices = choices.changed(default_action=Action(str(answer)))
    if choices.decisions.default_action is not Action.DENY:
        return choices
    errno = choices.decisions.default_errno
    known = {**_ERRNOS, **({} if errno in _ERRNOS else {errno: errno})}
    answer = yield Question(
        id=f"{Part.DEFAULT}/errno",
        title="What are denied calls answered?",
        kind=Kind.ONE,
        options=(*(Option(one, text) for one, text in known.items()), Option("other", "another error")),
        default=errno,
    )
    if answer == "other":
        answer = yield Question(
            id=f"{Part.DEFAULT}/errno-name",
            title="Which error?",
            kind=Kind.ERRNO,
            default=errno,
            help="As in errno(3).",
        )
    return choices.changed(default_errno=str(answer))


def calls_part(world: World, choices: Choices) -> Asking:
    """What becomes of the observed calls of each category."""
    tallies = world.seen(choices).tallies
    for category in Category:
        made = {name: one for name, one in tallies.items() if one.entered and category_of(name) is category}
        if made:
            choices = yield from _category(category, made, choices)
    return choices


def _category(category: Category, made: dict[str, Tally], choices: Choices) -> Asking:
    order = sorted(made, key=lambda name: (-made[name].entered, name))
    top = choices.decisions.top
    dangerous = [name for name in order if name in DANGEROUS]
    total = sum(one.entered for one in made.values())
    lines = [f"{counted(len(made), 'call', 'calls')}, made {counted(total, 'time', 'times')}; the most frequent:"]
    lines += [f"  {name} {made[name].entered}×" for name in order[:_SHOWN]]
    if dangerous:
        lines.append(f"dangerous: {', '.join(dangerous)}")
    options = [Option(CategoryChoice.ALLOW, "allow all that were seen", _described(order, made))]
    if len(order) > top or choices.decisions.categories.get(category) is CategoryChoice.TOP:
        options.append(Option(CategoryChoice.TOP, f"allow the {top} most frequent", _described(order[:top], made)))
    options.append(Option(CategoryChoice.REVIEW, "review each"))
    options.append(Option(CategoryChoice.DENY, "allow none", warning=True))
    answer = yield Question(
        id=f"{Part.CALLS}/{category}",
        title=f"{category}: what becomes of its calls?",
        kind=Kind.ONE,
        options=tuple(options),
        lines=tuple(lines),
        default=choices.decisions.categories.get(category, CategoryChoice.ALLOW),
        help="What is not allowed gets the default action. A program that lacks a call it needs fails.",
    )
    choice = CategoryChoice(str(answer))
    categories = {one: word for one, word in choices.decisions.categories.items() if one is not category}
    if choice is not CategoryChoice.ALLOW:
        categories[category] = choice
    choices = choices.changed(categories=categories)
    return (yield from _review(category, order, made, choices)) if choice is CategoryChoice.REVIEW else choices


def _review(category: Category, order: list[str], made: dict[str, Tally], choices: Choices) -> Asking:
    calls = choices.decisions.calls
    width = max(map(len, order))
    answer = yield Question(
        id=f"{Part.CALLS}/{category}/review",
        title=f"{category}: which calls are allowed?",
        kind=Kind.MANY,
        options=tuple(
            Option(name, f"{name:<{width}}  {made[name].entered}×", _about(name, made[name]), name in DANGEROUS)
            for name in order
        ),
        default=tuple(name for name in order if calls.get(name, Action.ALLOW).passes),
        help="Space chooses a call or takes the choice back; calls that are not chosen get the default action.",
    )
    chosen = dict(calls)
    for name in order:
        action = chosen.pop(name, None)
        if name in answer:
            chosen[name] = action if action is not None and action.passes else Action.ALLOW
        elif action is not None and not action.passes:
            chosen[name] = action
    return choices.changed(calls=chosen)


def _described(names: list[str], made: dict[str, Tally]) -> tuple[str, ...]:
    return tuple(f"{name} {made[name].entered}×" for name in names)


def _about(name: str, one: Tally) -> tuple[str, ...]:
    lines = [DANGEROUS[name]] if name in DANGEROUS else []
    lines += [f"made by {program}" for program in sorted(one.programs)]
    if one.denied:
        lines.append(f"refused by a filter {one.denied}× ({', '.join(sorted(one.errnos))})")
    return tuple(lines)
