"""Tallies of calls → rules for them: what is allowed, what keeps the answer it got, and what --portable adds.

Called by policy.infer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from scmm_oci.capture.model import SessionKind
from scmm_oci.errors import Finding
from scmm_oci.policy import constraints
from scmm_oci.policy.decisions import CategoryChoice, Decisions, Unseen
from scmm_oci.policy.infer.observe import Tally
from scmm_oci.policy.model import Action, Constraint, Origin, SyscallRule
from scmm_oci.tables import families
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.categories import category_of

_IO_URING = frozenset({"io_uring_setup", "io_uring_enter", "io_uring_register"})

# Calls whose arguments lie in memory, and the older ones that C libraries take when they hear ENOSYS.
OLDER = {"clone3": "clone", "openat2": "openat"}


def actions(tallies: Mapping[str, Tally], decisions: Decisions) -> dict[str, Action]:
    """What the decisions make of each call that was made, and of those that they name beside."""
    chosen: dict[str, Action] = {}
    made = {name: one for name, one in tallies.items() if one.entered}
    for name in sorted(made):
        choice = decisions.categories.get(category_of(name), CategoryChoice.ALLOW)
        chosen[name] = Action.ALLOW if choice is CategoryChoice.ALLOW else Action.DENY
    for category, choice in decisions.categories.items():
        if choice is CategoryChoice.TOP:
            names = [name for name in made if category_of(name) is category]
            names.sort(key=lambda name: (-made[name].entered, name))
            chosen.update(dict.fromkeys(names[: decisions.top], Action.ALLOW))
    return chosen | dict(decisions.calls)


def call_rules(
    tallies: Mapping[str, Tally],
    argument_rules: Mapping[str, tuple[tuple[Constraint, ...], ...]],
    decisions: Decisions,
    needed: frozenset[str],
    every: frozenset[str],
    findings: list[Finding],
) -> list[SyscallRule]:
    """The rules, sorted by name.

    Args:
        argument_rules: call → its constraints, one set for each rule that it gets.
        needed: names that a profile must allow anyhow: they get no rule that refuses them.
        every: the files of all programs; a rule names those that made the call where these are not all.
    """
    chosen = actions(tallies, decisions)
    rules: dict[str, list[SyscallRule]] = {}
    for name, one in sorted(tallies.items()):
        origin = _origin(one, every)
        if one.entered:
            if name in _IO_URING:
                findings.append(_io_uring(name))
            if one.denied:
                findings.append(_partly(name, one))
            rules[name] = _made(name, chosen[name], origin, argument_rules.get(name, ()), decisions, needed)
        else:
            rules[name] = _refused(name, one, origin, decisions, needed, findings)
    for name, action in sorted(decisions.calls.items()):
        if not rules.get(name):
            rules[name] = _decided(name, action, decisions, needed)
    if decisions.unseen is Unseen.ENOSYS:
        _use_older(rules, argument_rules, needed, findings)
    return [rule for name in sorted(rules) for rule in rules[name]]


def _made(
    name: str,
    action: Action,
    origin: Origin,
    sets: tuple[tuple[Constraint, ...], ...],
    decisions: Decisions,
    needed: frozenset[str],
) -> list[SyscallRule]:
    if action is Action.DENY:
        if decisions.default_action is Action.DENY or name in needed:
            return []
        return [SyscallRule(name, action, origin=origin)]
    if action is Action.ALLOW and sets:
        return [SyscallRule(name, action, constraints=one, origin=origin) for one in sets]
    return [SyscallRule(name, action, origin=origin)]


def _decided(name: str, action: Action, decisions: Decisions, needed: frozenset[str]) -> list[SyscallRule]:
    """A call that no program was seen to make."""
    if action is Action.DENY and (decisions.default_action is Action.DENY or name in needed):
        return []
    return [SyscallRule(name, action, origin=Origin(reason="decided, not seen"))]


def _refused(
    name: str,
    one: Tally,
    origin: Origin,
    decisions: Decisions,
    needed: frozenset[str],
    findings: list[Finding],
) -> list[SyscallRule]:
    """A call that the engine's own filter always refused: not allowed, and answered as it was."""
    default = decisions.default_errno
    errno = "ENOSYS" if "ENOSYS" in one.errnos else min(one.errnos, default=default)
    if errno != "ENOSYS":
        findings.append(_by_engine(name, one, errno, needed=name in needed))
    if name in needed or (errno == default and decisions.default_action is Action.DENY):
        return []
    return [SyscallRule(name, Action.DENY, errno=errno, origin=origin)]


def _partly(name: str, one: Tally) -> Finding:
    if not one.errnos:
        message = f"a supervisor answered {name} ({one.denied}×) in the kernel's place, and let it pass otherwise"
        return Finding("partly-answered", message, "what it answered is not in the recording")
    message = f"a filter of the engine refused {name} ({one.denied}×) and let it pass otherwise"
    return Finding("partly-denied", message, "that filter looks at its arguments")


def _by_engine(name: str, one: Tally, errno: str, *, needed: bool) -> Finding:
    outcome = "the profile allows it, as the runtime needs it" if needed else "it is not allowed"
    if not one.errnos:
        # It never got to the kernel, and was no error: a listener answered it (seccomp_unotify(2)).
        message = f"a supervisor answered {name} ({one.denied}×) in the kernel's place: {outcome}"
        hint = "" if needed else "say notify for it, or allow it, if the program is to have it"
        return Finding("answered-by-supervisor", message, hint)
    message = f"a filter that was there already refused {name} ({errno}, {one.denied}×): {outcome}"
    return Finding(
        "denied-by-engine", message, "" if needed else "to allow it, record with --security-opt seccomp=unconfined"
    )


def _use_older(
    rules: dict[str, list[SyscallRule]],
    argument_rules: Mapping[str, tuple[tuple[Constraint, ...], ...]],
    needed: frozenset[str],
    findings: list[Finding],
) -> None:
    for newer, older in OLDER.items():
        before = rules.get(newer, [])
        if newer in needed or not any(rule.action is Action.ALLOW for rule in before):
            continue
        rules[newer] = [replace(rule, action=Action.DENY, errno="ENOSYS", constraints=()) for rule in before]
        if older in rules:
            # It was made or tried, and so decided about: what was refused is not let in through the back door.
            if older not in needed and not any(rule.action.passes for rule in rules[older]):
                message = f"{newer} is answered ENOSYS, and {older}, which programs then take, is refused"
                findings.append(Finding("older-refused", message, f"allow {older}, or both will fail"))
        else:
            reason = f"the programs take it when {newer} is answered ENOSYS"
            sets = argument_rules.get(older, ())
            origin = Origin(reason=reason)
            plain = [SyscallRule(older, Action.ALLOW, origin=origin)]
            rules[older] = [SyscallRule(older, Action.ALLOW, constraints=one, origin=origin) for one in sets] or plain


def portable_rules(
    rules: list[SyscallRule], decided: Collection[str], arch: Arch, findings: list[Finding]
) -> list[SyscallRule]:
    """The rules, and those for calls that another kernel or C library uses for the same job.

    Args:
        decided: names that were made, tried or decided about: what has no rule of these was refused on purpose.
    """
    allowed: dict[str, list[SyscallRule]] = {}
    for rule in rules:
        if rule.action is Action.ALLOW:
            allowed.setdefault(rule.name, []).append(rule)
    spoken = {*decided, *(rule.name for rule in rules)}
    added: list[SyscallRule] = []
    for name, bringers in sorted(families.wider(allowed, arch).items()):
        if name in spoken:
            continue
        reason = f"--portable: does the job of {', '.join(bringers)}"
        constrained = [rule for bringer in bringers for rule in allowed[bringer] if rule.constraints]
        sets: list[tuple[Constraint, ...]] = []
        for rule in constrained:
            moved = _moved(rule, name, arch)
            if moved is None:
                message = f"{name} does the job of {rule.name}, but its arguments cannot be checked: it is left out"
                findings.append(Finding("portable-unchecked", message, "libraries take the older call"))
                break
            sets.append(moved)
        else:
            origin = Origin(reason=reason)
            unique = list(dict.fromkeys(sets))
            if unique and () not in unique:
                added += [SyscallRule(name, Action.ALLOW, constraints=one, origin=origin) for one in unique]
            else:
                added.append(SyscallRule(name, Action.ALLOW, origin=origin))
    if added:
        names = ", ".join(dict.fromkeys(rule.name for rule in added))
        findings.append(Finding("portable", f"allowed for other kernels and C libraries, and not seen: {names}"))
    return sorted([*rules, *added], key=lambda rule: rule.name)


def _moved(rule: SyscallRule, name: str, arch: Arch) -> tuple[Constraint, ...] | None:
    """The constraints of a rule on another call's arguments; None where that call hides them, or means more by them."""
    moved: list[Constraint] = []
    for constraint in rule.constraints:
        argument = constraints.argument_of(rule.name, constraint.arg, arch)
        if argument is None:
            return None
        index = constraints.index_of(name, argument.vocabulary, arch)
        if index is not None:
            moved.append(replace(constraint, arg=index))
        elif name == "creat" or any(constraints.is_structure(name, arg, arch) for arg in range(6)):
            # creat has no flags, and means O_CREAT, O_WRONLY and O_TRUNC by that: creat(2).
            return None
        # Else it has no such argument at all: fork cannot make a namespace.
    return tuple(moved)


def _origin(one: Tally, every: frozenset[str]) -> Origin:
    kinds = tuple(kind for kind in SessionKind if kind in one.sessions)
    programs = tuple(sorted(one.programs)) if one.programs and one.programs != every else ()
    return Origin(one.entered, one.denied, sessions=kinds, programs=programs)


def _io_uring(name: str) -> Finding:
    message = f"the program uses {name}: what it does through io_uring no seccomp filter sees"
    return Finding("io-uring", message, "leave it out if the program can do without it")
