"""What in a set of rules is no error, but is not what whoever wrote it can have meant. Pure. Called by rules.load."""

from __future__ import annotations

from collections.abc import Iterator

from scmm_oci.enforcer.images import matches
from scmm_oci.enforcer.monitor.rules.check import arch_of, names_of
from scmm_oci.enforcer.monitor.rules.model import Outcome, Rule, Settings
from scmm_oci.errors import Finding
from scmm_oci.policy import constraints
from scmm_oci.policy.paths.patterns import Pattern, covers
from scmm_oci.tables import groups
from scmm_oci.tables.arch import Arch

# Every rule is compared with all before it.
MOST = 1000

_REFUSING = (Outcome.DENY, Outcome.KILL, Outcome.RETURN)


def findings(settings: Settings, rules: tuple[Rule, ...], arch: Arch) -> tuple[Finding, ...]:
    """Rules that decide nothing, lists of forbidden paths over calls that are otherwise allowed, a program for nothing.

    A rule that is told to be unreachable is: no call gets to it of which everything is known.
    """
    found = [*_never(rules, arch), *_denied_by_path(settings, rules)]
    if len(rules) <= MOST:
        found += _unreachable(rules)
    else:
        found.append(Finding("rules-not-compared", f"of more than {MOST} rules it is not told which decide nothing"))
    asked = [settings.default, *(rule.decision for rule in rules)]
    if settings.program and Outcome.PROGRAM not in asked:
        found.append(Finding("program-unused", "no rule asks the program", "decision: program does"))
    return tuple(found)


def _never(rules: tuple[Rule, ...], arch: Arch) -> Iterator[Finding]:
    for index, rule in enumerate(rules):
        names = names_of(rule.syscalls or ())
        if rule.args and not any(
            constraints.alternatives(rule.args, name, arch_of(name, arch), unequal=True) for name in names
        ):
            yield Finding("rule-never-fits", f"rules[{index}] decides nothing: its args cannot hold together")


def _denied_by_path(settings: Settings, rules: tuple[Rule, ...]) -> Iterator[Finding]:
    for index, rule in enumerate(rules):
        by_path = rule.paths or (rule.address is not None and rule.address.paths)
        if rule.decision not in _REFUSING or not by_path:
            continue
        names = set(names_of(rule.syscalls or ()))
        for number, later in enumerate(rules[index + 1 :], index + 1):
            if later.paths or later.address is not None:
                continue
            if later.syscalls is None or names & set(names_of(later.syscalls)):
                if later.decision is Outcome.ALLOW:
                    yield _trap(index, f"rules[{number}]")
                    break
                if _fits_all(later, rule):
                    break
        else:
            if settings.default is Outcome.ALLOW:
                yield _trap(index, "the default")


def _trap(index: int, by: str) -> Finding:
    return Finding(
        "paths-denied",
        f"rules[{index}] refuses paths, and {by} allows the same calls on all others; a file can have other names",
        "allow what is needed by its path, and deny or ask about the rest",
    )


def _fits_all(later: Rule, rule: Rule) -> bool:
    """Whether no call of the rule's gets past the later one."""
    who = (later.container, later.executable, later.user)
    return (
        who == (None, None, None)
        and not later.args
        and not later.times
        and (later.syscalls is None or set(names_of(rule.syscalls or ())) <= _plainly(later))
    )


def _unreachable(rules: tuple[Rule, ...]) -> Iterator[Finding]:
    for index, rule in enumerate(rules):
        before = [number for number, one in enumerate(rules[:index]) if _takes(one, rule)]
        if rule.syscalls is None:
            taken = [number for number in before if rules[number].syscalls is None][:1]
        else:
            left = set(names_of(rule.syscalls))
            taken = []
            for number in before:
                share = left & _names_taken(rules[number], rule) if left else set()
                if share:
                    left -= share
                    taken.append(number)
            if left:
                continue
        if taken:
            by = ", ".join(f"rules[{number}]" for number in taken[:3]) + (" …" if len(taken) > 3 else "")
            verb = "takes" if len(taken) == 1 else "take"
            message = f"rules[{index}] decides nothing: {by} {verb} all of its calls"
            yield Finding("rule-unreachable", message, "the first rule that fits decides")


def _takes(before: Rule, rule: Rule) -> bool:
    """Whether the earlier rule fits whenever the later one does, but for the call and its arguments."""
    if before.times:
        return False
    if before.container is not None and not _container(before.container, rule.container):
        return False
    if before.executable is not None and not (
        rule.executable is not None and covers(before.executable, rule.executable)
    ):
        return False
    if before.user is not None and before.user != rule.user:
        return False
    # One that allows needs all paths to fit, and to know them.
    looser = before.decision is Outcome.ALLOW and rule.decision is not Outcome.ALLOW
    if before.paths and (looser or not rule.paths or not _patterns(before.paths, rule.paths)):
        return False
    return before.address is None or (before.address == rule.address and not looser)


def _container(wide: str, narrow: str | None) -> bool:
    if set(wide) == {"*"}:
        return True
    if narrow is None:
        return False
    return wide == narrow or (not set(narrow) & set("*?") and matches(wide, narrow))


def _patterns(wide: tuple[Pattern, ...], narrow: tuple[Pattern, ...]) -> bool:
    return all(any(covers(one, other) for one in wide) for other in narrow)


def _plainly(rule: Rule) -> set[str]:
    """The calls that the rule names without conditions."""
    found: set[str] = set()
    for word in rule.syscalls or ():
        if word.startswith("@"):
            found.update(member.name for member in groups.expand(word) if not member.conditions)
        else:
            found.add(word)
    return found


def _names_taken(before: Rule, rule: Rule) -> set[str]:
    """The calls of which the earlier rule takes all that the later one could."""
    if not set(before.args) <= set(rule.args):
        return set()
    if before.syscalls is None:
        return set(names_of(rule.syscalls or ()))
    shared = [word for word in before.syscalls if word in (rule.syscalls or ()) and word.startswith("@")]
    # A call that a group has with conditions can be one of the later rule by another word, without any.
    others = tuple(word for word in rule.syscalls or () if word not in shared)
    return _plainly(before) | (set(names_of(tuple(shared))) - set(names_of(others)))
