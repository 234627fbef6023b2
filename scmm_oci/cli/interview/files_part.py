"""The part about files: by top directory, never file by file; patterns with what they newly allow, and a second yes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scmm_oci.cli.interview.questions import Asking, Kind, Option, Part, Question
from scmm_oci.cli.interview.world import Group, Reach, World, common_directories, holds
from scmm_oci.errors import BadInput
from scmm_oci.policy.choices import Choices
from scmm_oci.policy.decisions import Generalise
from scmm_oci.policy.paths.generalise import alternatives
from scmm_oci.policy.paths.patterns import Kind as PatternKind
from scmm_oci.policy.paths.patterns import Pattern, covers, escape
from scmm_oci.policy.paths.proposals import Proposal
from scmm_oci.policy.paths.protected import protected_root

# Lines of a preview, and alternatives of one pattern.
_LINES = 8
_MOST = 6

_HELP = (
    "A pattern also stands for files that are not there yet or were not used. Rights hold for a directory and all "
    "beneath it. What lies in protected places, such as /etc or a home, is asked about twice."
)


class _Place(NamedTuple):
    """Where in the interview a pattern is chosen: the id that its questions begin with, and the group."""

    id: str
    group: Group


def files_part(world: World, choices: Choices) -> Asking:
    """Which patterns stand for the observed files, and which files are left out."""
    if not choices.decisions.files:
        return choices
    for group in world.groups(choices):
        if not holds(group, _accepted(choices)):
            choices = yield from _group(world, group, choices)
    return choices


def _accepted(choices: Choices) -> list[Pattern]:
    rejected = set(choices.decisions.reject)
    return [Pattern.parse(text) for text in choices.decisions.accept if text not in rejected]


def _group(world: World, group: Group, choices: Choices) -> Asking:
    here = _Place(f"{Part.FILES}{group.name}", group)
    automatic = choices.decisions.generalise is Generalise.EVIDENCE and bool(group.automatic)
    options = []
    if automatic:
        count = len(group.automatic)
        label = "the suggested pattern" if count == 1 else f"the {count} suggested patterns"
        options.append(Option("suggested", f"{label}, and exact paths for the rest", _proposed(group.automatic)))
    options.append(Option("exact", "exact paths only", _paths([need.path for need in group.needs])))
    if group.automatic or group.others:
        every = (*group.automatic, *group.others)
        options.append(Option("each", "decide on each pattern", _proposed(every)))
    if group.base != "/":
        whole = Pattern.parse(f"{escape(group.base)}/**")
        options.append(_option(world, group, whole, f"everything beneath {group.base}", choices))
    options.append(Option("custom", "a pattern of my own"))
    if group.needs[-1].path != "/":
        options.append(Option("out", "leave them out", ("no rules for any of these paths",), warning=True))
    answer = yield Question(
        id=here.id,
        title=f"{_title(group)}: {_count(len(group.needs), 'path')}. How are they granted?",
        kind=Kind.ONE,
        options=tuple(options),
        lines=_shown(world, group),
        default="suggested" if automatic else "exact",
        help=_HELP,
    )
    if answer == "exact":
        return _reject(choices, (*(one.pattern.text for one in group.automatic), *group.single))
    if answer == "each":
        return (yield from _each(world, group, choices))
    if answer == "custom":
        return (yield from _custom(world, here, choices))
    if answer == "out":
        return _leave_out(choices, _whole_group(group))
    if str(answer).startswith("take:"):
        return (yield from _take(world, here, str(answer)[5:], choices))
    return choices


def _each(world: World, group: Group, choices: Choices) -> Asking:
    # The wide ones first: what they cover need not be asked about.
    order = sorted((*group.automatic, *group.others), key=lambda one: (len(one.pattern.parts), one.pattern.text))
    asked: set[str] = set()
    for one in order:
        if one.pattern.text in asked or any(covers(wide, one.pattern) for wide in _accepted(choices)):
            continue
        asked.add(one.pattern.text)
        here = _Place(f"{Part.FILES}{group.name}#{one.pattern.text}", group)
        answer = yield _about(world, here, one, choices)
        if answer == "rest":
            break
        if answer == "exact":
            choices = _reject(choices, [one.pattern.text])
        elif answer == "out":
            choices = _leave_out(_reject(choices, [one.pattern.text]), _of(one))
        elif answer == "custom":
            choices = yield from _custom(world, here, _reject(choices, [one.pattern.text]))
        elif answer == f"take:{one.pattern.text}" and one.automatic and _is_taken(choices, one):
            continue  # it is taken unasked
        else:
            choices = yield from _take(world, here, str(answer)[5:], choices, instead=one)
    return choices


def _is_taken(choices: Choices, one: Proposal) -> bool:
    decided = choices.decisions
    return decided.generalise is Generalise.EVIDENCE and one.pattern.text not in decided.reject


def _about(world: World, here: _Place, one: Proposal, choices: Choices) -> Question:
    options = [_option(world, here.group, one.pattern, f"use {one.pattern.text}", choices, one)]
    options.append(Option("exact", "exact paths", _paths(one.needs)))
    for other, word in _near(one, choices.decisions.home):
        options.append(_option(world, here.group, other, f"use {other.text} ({word})", choices))
    options.append(Option("custom", "a pattern of my own"))
    options.append(Option("out", "leave these paths out", _paths(one.needs), warning=True))
    options.append(Option("rest", "as suggested, for this and the rest of the group"))
    taken = one.automatic and _is_taken(choices, one)
    return Question(
        id=here.id,
        title=f"{one.pattern.text}: {_count(len(one.needs), 'observed path')}",
        kind=Kind.ONE,
        options=tuple(options),
        lines=(
            f"because {one.reason}",
            f"newly allows {one.allows}",
            *([f"opens {one.protected}, a protected place"] if one.protected else []),
        ),
        default=f"take:{one.pattern.text}" if taken else "exact",
        help=_HELP,
    )


def _near(one: Proposal, home: str | None) -> list[tuple[Pattern, str]]:
    """Narrower and wider patterns than the proposal's, of those around its first path."""
    try:
        around = alternatives(one.needs[0], home=home)
    except BadInput:
        return []
    found = []
    for pattern in around:
        if pattern == one.pattern or pattern.kind is PatternKind.EXACT:
            continue
        if covers(pattern, one.pattern):
            found.append((pattern, "wider"))
        elif covers(one.pattern, pattern):
            found.append((pattern, "narrower"))
    return found[:_MOST]


def _custom(world: World, here: _Place, choices: Choices) -> Asking:
    base = here.group.base.rstrip("/")
    answer = yield Question(
        id=f"{here.id}#custom",
        title="Which pattern?",
        kind=Kind.PATTERN,
        lines=_shown(world, here.group),
        default=f"{escape(base)}/**" if base else "",
        help="* stands for any characters but /, and /** at the end for a directory and everything beneath it.",
    )
    text = str(answer)
    option = _option(world, here.group, Pattern.parse(text), f"use {text}", choices)
    answer = yield Question(
        id=f"{here.id}#custom#{text}",
        title=f"{text}: is that meant?",
        kind=Kind.ONE,
        options=(option, Option("exact", "no: exact paths")),
        lines=option.preview,
        default="exact" if option.warning else option.key,
    )
    return choices if answer == "exact" else _taken(here.group, text, choices)


def _take(world: World, here: _Place, text: str, choices: Choices, *, instead: Proposal | None = None) -> Asking:
    """Take a pattern, after a second yes where it opens a protected place."""
    option = _option(world, here.group, Pattern.parse(text), f"yes, use {text}", choices, instead)
    if option.warning:
        answer = yield Question(
            id=f"{here.id}#yes#{text}",
            title=f"{text} opens a protected place. Is that meant?",
            kind=Kind.ONE,
            options=(Option("no", "no: exact paths"), option),
            lines=option.preview,
            default="no",
            help="Programs under the policy could reach everything there, not only what was seen.",
        )
        if answer == "no":
            return _reject(choices, [instead.pattern.text] if instead is not None else [])
    if instead is not None and instead.pattern.text != text:
        choices = _reject(choices, [instead.pattern.text])
    return _taken(here.group, text, choices)


def _taken(group: Group, text: str, choices: Choices) -> Choices:
    """With the pattern, and without the suggested ones that it covers."""
    pattern = Pattern.parse(text)
    covered = [one.pattern.text for one in group.automatic if one.pattern != pattern and covers(pattern, one.pattern)]
    choices = _reject(choices, covered)
    accept = tuple(dict.fromkeys((*choices.decisions.accept, text)))
    return choices.changed(accept=accept, reject=tuple(one for one in choices.decisions.reject if one != text))


def _reject(choices: Choices, texts: Iterable[str]) -> Choices:
    gone = tuple(dict.fromkeys((*choices.decisions.reject, *texts)))
    known = set(gone)
    return choices.changed(reject=gone, accept=tuple(one for one in choices.decisions.accept if one not in known))


def _leave_out(choices: Choices, texts: Iterable[str]) -> Choices:
    return choices.changed(leave_out=tuple(dict.fromkeys((*choices.leave_out, *texts))))


def _whole_group(group: Group) -> list[str]:
    if group.name != "/":
        return [f"{escape(group.name)}/**"]
    return [escape(need.path) for need in group.needs if need.path != "/"]


def _of(one: Proposal) -> list[str]:
    """Patterns for the proposal's paths: its own, or the paths themselves where it begins with a variable."""
    return [one.pattern.text] if not one.pattern.variables else [escape(path) for path in one.needs]


def _option(
    world: World, group: Group, pattern: Pattern, label: str, choices: Choices, proposal: Proposal | None = None
) -> Option:
    reach = world.reach(group, pattern, choices.decisions.home)
    opened = proposal.protected if proposal is not None and proposal.pattern == pattern else protected_root(pattern)
    exact = (
        pattern.kind is PatternKind.EXACT and reach.paths[:1] == reach.paths and pattern.matches("".join(reach.paths))
    )
    warned = opened is not None and not exact
    lines = [proposal.allows if proposal is not None and proposal.pattern == pattern else _allows(pattern, reach)]
    lines += [f"opens {opened}, a protected place"] if warned else []
    return Option(f"take:{pattern.text}", label, (*lines, *_covered(reach)), warned)


def _allows(pattern: Pattern, reach: Reach) -> str:
    if not reach.access:
        return "stands for none of the observed paths here: no rule would come of it"
    what = pattern.text.removesuffix("/**") or "/"
    beneath = pattern.kind is not PatternKind.FILES
    where = f"{what} and everything beneath it" if beneath else f"every file that {what} stands for at the start"
    return f"{', '.join(reach.access)} for {where}"


def _covered(reach: Reach) -> list[str]:
    return [f"stands for {_count(len(reach.paths), 'observed path')}:", *(f"  {line}" for line in _paths(reach.paths))]


def _proposed(proposals: Sequence[Proposal]) -> tuple[str, ...]:
    lines = [f"{one.pattern.text}: {_count(len(one.needs), 'path')}; {one.reason}" for one in proposals[:_LINES]]
    more = len(proposals) - _LINES
    return (*lines, f"… and {more} more") if more > 0 else tuple(lines)


def _paths(paths: Sequence[str]) -> tuple[str, ...]:
    more = len(paths) - _LINES
    return (*paths[:_LINES], f"… and {more} more") if more > 0 else tuple(paths)


def _shown(world: World, group: Group) -> tuple[str, ...]:
    return world.once(("shown", id(group)), lambda: _look(group))


def _look(group: Group) -> tuple[str, ...]:
    rights: Counter[str] = Counter()
    for need in group.needs:
        rights.update(need.access)
    said = ", ".join(f"{right} {count}" for right, count in sorted(rights.items(), key=lambda one: (-one[1], one[0])))
    made = sum(need.created for need in group.needs)
    lines = [f"rights: {said}" if said else "no rights are needed"]
    lines += [f"{_count(made, 'path')} made by the program"] if made else []
    full = common_directories(group, _LINES)
    lines += [f"  {path}: {_count(count, 'path')}" if count > 1 else f"  {path}" for path, count in full]
    return tuple(lines)


def _title(group: Group) -> str:
    return "files directly in /" if group.name == "/" else group.name


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
