"""What lint finds in the rules for system calls. Called by policy.lint only."""

from __future__ import annotations

from collections.abc import Iterator

from scmm_oci.errors import BadInput
from scmm_oci.policy import constraints
from scmm_oci.policy.answers import Answer, Answers
from scmm_oci.policy.lint.rules import LintFinding, finding
from scmm_oci.policy.merge import calls
from scmm_oci.policy.merge.entries import Entry, Side
from scmm_oci.policy.model import Action, Constraint, Operator, Policy, SyscallRule
from scmm_oci.tables import signatures, words
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.operations import FILE_CALLS
from scmm_oci.tables.probes import probes
from scmm_oci.tables.sensitive import DANGEROUS

_RINGS = frozenset({"io_uring_setup", "io_uring_enter", "io_uring_register"})
# A call whose arguments are in memory → the older ones, whose are in registers.
_OLDER = {"clone3": ("clone",), "openat2": ("open", "openat", "creat")}
_MAPPING = ("mmap", "mmap2", "mprotect", "pkey_mprotect")
_INPUT = ("TIOCSTI", "TIOCLINUX")
_POINTERS = frozenset({*FILE_CALLS, "bind", "connect", "execve", "execveat", "sendto", "sendmsg", "sendmmsg"})
# With these a value that is changed above its low 32 bits passes a rule, or passes one by.
_LETS_IN = frozenset({Operator.NE, Operator.GE, Operator.GT})
_LETS_PAST = frozenset({Operator.EQ, Operator.LT, Operator.LE, Operator.MASKED_EQ})


def call_findings(policy: Policy, floor: frozenset[str]) -> Iterator[LintFinding]:
    """Everything about system calls.

    Args:
        floor: the names that the runtime needs.
    """
    view = calls.view(policy)
    yield from _default(view.default)
    for name, entry in sorted(view.entries.items()):
        yield from _dangerous(name, entry)
    yield from _unseen(view)
    yield from _missing(view, floor)
    yield from _groups(view)
    yield from _useless(view)
    found = [one for rule in policy.syscalls for one in _constraints(rule, policy, view)]
    yield from found
    if not any(one.id == "untestable" for one in found):
        yield from _values(policy, view)


def _default(default: Answer) -> Iterator[LintFinding]:
    if default.action is Action.ALLOW:
        yield finding("default-allow", "settings: default_action", "every call without a rule is allowed")
    if default.action is Action.LOG:
        yield finding("default-log", "settings: default_action", "every call without a rule is allowed, and logged")


def _dangerous(name: str, entry: Entry) -> Iterator[LintFinding]:
    place = f"syscalls: {name}"
    open_ = entry.fallback.action.passes
    some = any(answer.action.passes for _, answer in entry.clauses)
    if name in _RINGS:
        if open_ or some:
            yield finding("io-uring", place, f"{name} is allowed, and with it calls that no filter sees")
    elif name in DANGEROUS and open_:
        yield finding("dangerous-call", place, f"{name} is allowed: {DANGEROUS[name].rstrip('.')}")
    elif name in DANGEROUS and some:
        yield finding(
            "dangerous-checked", place, f"{name} is allowed with some arguments: {DANGEROUS[name].rstrip('.')}"
        )


def _unseen(view: calls.View) -> Iterator[LintFinding]:
    for name, older in _OLDER.items():
        checked = [one for one in older if view.entry(one).clauses]
        if checked and view.entry(name).fallback.action.passes:
            message = f"{name} is allowed with any arguments, while {' and '.join(checked)} {_are(checked)} checked"
            yield finding("unseen-arguments", f"syscalls: {name}", message)


def _are(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _missing(view: calls.View, floor: frozenset[str]) -> Iterator[LintFinding]:
    def passes(name: str) -> bool:
        entry = view.entry(name)
        return entry.fallback.action.passes or any(answer.action.passes for _, answer in entry.clauses)

    if any(rule.name in ("execve", "execveat") for rule in view.dependent):
        return
    # What is merely not listed, compiling adds (compiled.needed).
    if "execve" in view.entries and not passes("execve"):
        yield finding("no-execve", "syscalls: execve", "no program can be started")
    if "exit_group" in view.entries and not passes("exit_group"):
        yield finding("no-exit", "syscalls: exit_group", "the program cannot end by itself")
    for name in sorted(floor & view.entries.keys()):
        if not passes(name):
            yield finding("floor-refused", f"syscalls: {name}", f"{name} is refused, and the runtime needs it")


def _groups(view: calls.View) -> Iterator[LintFinding]:
    for group in sorted(view.groups):
        if calls.members(group) & view.named <= view.own:
            yield finding("group-overridden", f"syscalls: {group}", f"every call of {group} has rules of its own")


def _useless(view: calls.View) -> Iterator[LintFinding]:
    dependent = {rule.name for rule in view.dependent}
    for name in sorted(view.own - dependent):
        entry = view.entries[name]
        # A rule for a call that programs only try says more: without one, profiles answer it ENOSYS.
        tried = view.default.action is Action.DENY and name in probes()
        if entry.plain is not None and entry.fallback == view.default and not tried and not view.holding(name):
            message = f"the rule for {name} without constraints does what the default does"
            yield finding("same-as-default", f"syscalls: {name}", message)


def _constraints(rule: SyscallRule, policy: Policy, view: calls.View) -> Iterator[LintFinding]:
    if not rule.constraints or rule.is_group:
        return
    place = f"syscalls: {rule.name}"
    empty = True
    for arch in policy.settings.architectures:
        try:
            # As filters hold them: a profile has no comparison for what is denied, and takes a rule for each of many.
            empty = not constraints.alternatives(rule.constraints, rule.name, arch, unequal=True) and empty
        except BadInput as error:
            yield finding("untestable", place, error.problems[0].message)
            return
    answer = Answer.of(rule, policy.settings)
    entry = view.entry(rule.name)
    if rule.includes is None and rule.excludes is None:
        conditions = frozenset(map(calls.ordered_constraint, rule.constraints))
        if empty:
            yield finding("never-decides", place, f"the constraints of a rule for {rule.name} can never hold")
        elif answer == entry.fallback:
            message = f"a rule for {rule.name} with constraints answers what is answered without it"
            yield finding("never-decides", place, message)
        elif (conditions, answer) not in entry.clauses:
            yield finding("never-decides", place, f"another rule for {rule.name} holds wherever one of them does")
    passed = _LETS_IN if answer < entry.fallback else _LETS_PAST
    for one in rule.constraints:
        if one.op in passed and _is_narrow(rule.name, one, policy.settings.architectures):
            message = f"argument {one.arg} of {rule.name} has 32 bits, and {one.op} {one.value} looks at 64"
            yield finding("high-word", place, message)
        words = one.denied if passed is _LETS_IN else (*one.allowed, *(match.pattern for match in one.match))
        negative = [word for word in words if any(part.strip().startswith("-") for part in word.split("|"))]
        if negative and _has_unknown_width(rule.name, one, policy.settings.architectures):
            message = (
                f"{negative[0]} is compared with all 64 bits of argument {one.arg} of {rule.name}, which may be an int"
            )
            yield finding("high-word", place, f"{message}: name 0xffffffff and its like, too")


def _is_narrow(name: str, one: Constraint, arches: tuple[Arch, ...]) -> bool:
    if one.op is Operator.MASKED_EQ:
        masks = [constraints.value_of(name, one.arg, one.mask or 0, arch) for arch in arches]
        if not any(mask is not None and mask > constraints.LOW for mask in masks):
            return False
    for arch in arches:
        argument = constraints.argument_of(name, one.arg, arch)
        if argument is not None and not argument.wide:
            return True
        if constraints.is_pair(name, one.arg, arch) is not None:
            return True
    return signatures.taken(name, one.arg) <= constraints.LOW


def _has_unknown_width(name: str, one: Constraint, arches: tuple[Arch, ...]) -> bool:
    """Whether our tables lack the argument, on an ABI whose registers have 64 bits.

    Of an int below zero programs leave the upper half as they like, zeros as a rule.
    """
    return one.arg >= len(signatures.SIGNATURES.get(name, "")) and any(
        constraints.argument_of(name, one.arg, arch) is None
        and constraints.is_pair(name, one.arg, arch) is None
        and constraints.value_of(name, one.arg, "-1", arch) == constraints.FULL
        for arch in arches
    )


def _values(policy: Policy, view: calls.View) -> Iterator[LintFinding]:
    """What single values of arguments are answered. All constraints can be tested."""
    arch = policy.settings.arch
    answers = Answers(policy, arch)

    def passes(name: str, values: dict[int, int]) -> bool:
        return name in view.named and name in view.entries and answers.possible(name, values).action.passes

    write_exec = words.names("prot_flags", arch=arch)["PROT_WRITE"] | words.names("prot_flags", arch=arch)["PROT_EXEC"]
    found = [name for name in _MAPPING if passes(name, {2: write_exec})]
    if found:
        message = f"{', '.join(found)} may make memory writable and executable at once"
        yield finding("write-exec-memory", f"syscalls: {found[0]}", message)
    commands = words.names("ioctl_commands", arch=arch)
    open_ = [word for word in _INPUT if word in commands and passes("ioctl", {1: commands[word]})]
    if open_:
        yield finding("terminal-input", "syscalls: ioctl", f"ioctl may be called with {' and '.join(open_)}")
    for name, entry in sorted(view.entries.items()):
        asked = [entry.fallback, *(answer for _, answer in entry.on(Side.LEAST)), *(a for _, a in entry.on(Side.MOST))]
        if name in _POINTERS and any(answer.action is Action.NOTIFY for answer in asked):
            message = f"a supervisor that reads what {name} points to can be told one thing and the kernel another"
            yield finding("notify-pointer", f"syscalls: {name}", message)
