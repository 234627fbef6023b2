"""Rules for one run, given on the command line → the policy that they make of another one, or of none. Pure.

A rule of the command line stands in the place of all that the policy says of its call. Called by cli.enforce.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from scmm_oci.errors import BadInput, Problem, short, unknown_value
from scmm_oci.policy.model import Action, ArgType, Constraint, Metadata, Policy, Settings, SyscallRule
from scmm_oci.tables import errnos, groups, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.multiplexed import SELECTOR, multiplexers

# Option → what it does to the calls that it names.
OPTIONS = {"--allow": Action.ALLOW, "--deny": Action.DENY, "--kill": Action.KILL, "--log": Action.LOG}

# What a default can be without anyone who is asked: the launcher has no tracer.
DEFAULTS = (Action.ALLOW, Action.LOG, Action.DENY, Action.TRAP, Action.KILL_THREAD, Action.KILL)

# Numbers of socketcall that are another call without an address, and no calls of their own on x86 (net/socket.c).
_SAME = {"send": "sendto", "recv": "recvfrom"}


@dataclass(frozen=True)
class Overrides:
    """What the command line says, as words that nobody has looked at.

    Attributes:
        rules: (option, name of a call or group) in any order.
    """

    default_action: str | None = None
    errno: str | None = None
    rules: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return self != Overrides()


def nothing(arch: Arch) -> Policy:
    """The policy that rules stand in where no policy is given: every call of every ABI of a kernel is allowed."""
    settings = Settings(default_action=Action.ALLOW, arch=arch, architectures=(arch, *arch.beside))
    return Policy(Metadata(name="command line"), settings)


def problems(given: Overrides, arches: Sequence[Arch]) -> list[Problem]:
    """All that is wrong with the words, for the ABIs that the policy is for."""
    found = []
    if given.default_action is not None and given.default_action not in DEFAULTS:
        found.append(
            unknown_value("--default-action", "an action", given.default_action, [one.value for one in DEFAULTS])
        )
    if given.errno is not None and errnos.number(given.errno) is None:
        found.append(errnos.unknown("--errno", given.errno))
    known = _known(arches)
    for option, word in dict.fromkeys(given.rules):
        found += _unusable(option, word, known, arches)
    if not found:
        found += _twice(given, known)
    return found


def applied(policy: Policy, given: Overrides) -> Policy:
    """The policy with the rules of the command line.

    Raises:
        BadInput: what :func:`problems` finds, an errno that no call is answered with, or a call that still passes
            through a multiplexer.
    """
    found = problems(given, policy.settings.architectures)
    if found:
        raise BadInput(found)
    settings = policy.settings
    if given.default_action is not None:
        settings = replace(settings, default_action=Action(given.default_action), default_message=None)
    if given.errno is not None:
        settings = replace(settings, default_errno=given.errno)
    actions = {name: next(iter(of)) for name, of in _actions(given, _known(settings.architectures)).items()}
    kept = [rule for rule in policy.syscalls if rule.name not in actions]
    rules = (
        *kept,
        *(SyscallRule(name, action) for name, action in sorted(actions.items())),
        *_refused_through(kept, actions, settings.architectures),
    )
    answered = [settings.default_action, *(rule.action for rule in rules if rule.errno is None)]
    if given.errno is not None and Action.DENY not in answered:
        raise BadInput([Problem("--errno", "no call is answered with it", "give --deny or --default-action deny")])
    return replace(policy, settings=settings, syscalls=rules)


def _refused_through(
    rules: Sequence[SyscallRule], actions: Mapping[str, Action], arches: Sequence[Arch]
) -> list[SyscallRule]:
    """Rules that refuse calls in multiplexers, too, of which the policy has rules of its own (policy.answers).

    Without them ``--deny socket`` would leave x86's socketcall open, which engines' profiles allow. One that a rule of
    the command line names is left alone, and none allows what its own rule refuses.
    """
    found: list[SyscallRule] = []
    problems = []
    every = {name: numbers for arch in arches for name, numbers in multiplexers(arch).items()}
    for multiplexer, numbers in sorted(every.items()):
        own = [rule for rule in rules if rule.name == multiplexer]
        said = {name: actions.get(name) or actions.get(_SAME.get(name, "")) for name in numbers}
        chosen = {name: action for name, action in said.items() if action is not None and not action.passes}
        if not own or not chosen or multiplexer in actions:
            continue
        if any(rule.constraints for rule in own):
            message = f"{', '.join(chosen)} may pass through {multiplexer}, for which the policy has constraints"
            problems.append(Problem("rules for one run", message, f"give a rule for {multiplexer}, too"))
        for name, action in chosen.items():
            if action.rank >= own[0].action.rank:
                number = Constraint(SELECTOR, ArgType.INTEGER, allowed=(str(numbers[name]),))
                found.append(SyscallRule(multiplexer, action, constraints=(number,)))
    if problems:
        raise BadInput(problems)
    return found


def _known(arches: Sequence[Arch]) -> frozenset[str]:
    return frozenset().union(*(syscalls.numbers(arch) for arch in arches))


def _unusable(option: str, word: str, known: frozenset[str], arches: Sequence[Arch]) -> Iterator[Problem]:
    if word.startswith("@"):
        if word not in groups.groups():
            problem = unknown_value(option, "a group", word, list(groups.groups()))
            yield Problem(option, problem.message, problem.hint or "`scmm groups` lists them")
        elif any(member.conditions for member in groups.expand(word)):
            message = f"{word} is about calls with some arguments only, and a rule here is for all"
            yield Problem(option, message, "name the calls, or write the group into a policy")
    elif word not in known:
        what = f"a system call of {' or '.join(arches)}"
        elsewhere = [arch for arch in syscalls.ARCHES if word in syscalls.numbers(arch)]
        if elsewhere:
            yield Problem(option, f"{short(word)} is not {what}", f"it is one of {', '.join(elsewhere)}")
        else:
            yield unknown_value(option, what, word, sorted(known))


def _actions(given: Overrides, known: frozenset[str]) -> dict[str, dict[Action, list[str]]]:
    """Call → its actions, each with the words that say so. A call's own name stands above groups."""
    named: defaultdict[str, dict[Action, list[str]]] = defaultdict(dict)
    grouped: defaultdict[str, dict[Action, list[str]]] = defaultdict(dict)
    for option, word in dict.fromkeys(given.rules):
        action = OPTIONS[option]
        if not word.startswith("@"):
            named[word].setdefault(action, []).append(f"{option} {word}")
            continue
        for member in groups.expand(word):
            if member.name in known:
                grouped[member.name].setdefault(action, []).append(f"{option} {word}")
    return {**grouped, **named}


def _twice(given: Overrides, known: frozenset[str]) -> Iterator[Problem]:
    """Calls that are to be answered in two ways: one problem for each pair of words, with the first of its calls."""
    said: dict[str, list[str]] = {}
    for name, actions in sorted(_actions(given, known).items()):
        if len(actions) > 1:
            words = " and ".join(words[0] for words in actions.values())
            said.setdefault(words, []).append(name)
    for words, names in said.items():
        hint = "" if words.count("@") == 0 else "a call that is named itself is answered by that"
        yield Problem(words, f"{names[0]} cannot be answered in two ways", hint)
