"""Denials and the policy that a program ran under → the lines of policy that would allow them. Pure.

A line is only suggested when the policy with it does allow the thing: of a call, the filter that would be made is run.
What no line can allow is said, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from scmm_oci.compiled.bpf import RET_ACTION_FULL, RET_ALLOW
from scmm_oci.compiled.explain import Explanation, of_a_policy
from scmm_oci.compiled.question import Question
from scmm_oci.compiled.rule_words import described, verdict
from scmm_oci.enforcer.logs.decode import Call, Denial
from scmm_oci.errors import BadInput, short
from scmm_oci.policy.admit import Files
from scmm_oci.policy.model import (
    Action,
    Network,
    NetworkRule,
    PathRule,
    Policy,
    PortRange,
    Protocol,
    SyscallRule,
)
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.policy.render import to_document
from scmm_oci.policy.yaml.text import FlowList, inline
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.landlock import FS_RIGHTS, SCOPES
from scmm_oci.tables.vocabulary import ACCESS_RIGHTS

# blockers of network accesses → the list they belong to, and the protocol.
_NETWORK = {
    "net.bind_tcp": ("inbound", Protocol.TCP),
    "net.connect_tcp": ("outbound", Protocol.TCP),
    "net.bind_udp": ("inbound", Protocol.UDP),
    "net.connect_send_udp": ("outbound", Protocol.UDP),
}

# What the kernel adds to the name of what is no longer there (d_path of its fs/d_path.c).
_DELETED = " (deleted)"


@dataclass(frozen=True)
class Line:
    """A line for a policy.

    Attributes:
        section: where it goes: ``syscalls``, ``settings``, ``filesystem.rules``, ``network.outbound``, ``scopes`` …
        text: the line, in YAML.
        replaces: the rules of that section in whose place it stands, by their index; none: it is added.
    """

    section: str
    text: str
    replaces: tuple[int, ...] = ()


@dataclass(frozen=True)
class Advice:
    """What would allow one thing.

    Attributes:
        what: the call, path or port.
        lines: all of them are needed; none where no line allows it.
        notes: what to know, or why there is no line.
    """

    what: str
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()


def advise(denials: Iterable[Denial], policy: Policy, *, given: Policy | None = None) -> tuple[Advice, ...]:
    """What would allow each of the things that were refused, in the order in which they come.

    Args:
        policy: without rules that depend on the container.
        given: the policy as it was written, whose rules `Line.replaces` counts; where that is another one.

    Raises:
        BadInput: there is no filter for the policy.
    """
    calls: dict[tuple[Arch | None, int], list[Call]] = {}
    paths: dict[str, set[str]] = {}
    ports: dict[tuple[str, Protocol, int | None], None] = {}
    rest: dict[str, None] = {}
    for denial in denials:
        if isinstance(denial, Call):
            calls.setdefault((denial.arch, denial.nr), []).append(denial)
            continue
        for blocker in denial.blockers:
            right = blocker.removeprefix("fs.")
            if blocker.startswith("fs.") and right in FS_RIGHTS:
                paths.setdefault(denial.path or "", set()).add(right)
            elif blocker in _NETWORK:
                ports.setdefault((*_NETWORK[blocker], denial.port))
            else:
                rest.setdefault(blocker)
    found = [_call(group, policy, given or policy) for group in calls.values()]
    found += [_path(path, rights, policy) for path, rights in paths.items()]
    found += [_port(*port, policy) for port in ports]
    asked = {f"scope.{scope.value}" for scope in policy.scopes or ()}
    scopes = [blocker for blocker in rest if blocker in asked]
    if scopes:
        # One list for all of them: of two, the second would take back what the first allows.
        left = FlowList(scope.value for scope in policy.scopes or () if f"scope.{scope.value}" not in scopes)
        found.append(Advice(", ".join(scopes), (Line("scopes", f"scopes: {inline(left)}"),)))
    found += [_other(blocker) for blocker in rest if blocker not in scopes]
    return tuple(found)


# Calls


def _call(denials: Sequence[Call], policy: Policy, given: Policy) -> Advice:
    one = denials[0]
    arch, name = one.arch, one.name
    if arch is None:
        return Advice(f"a call of ABI {one.audit:#x}", notes=("policies know no such ABI",))
    if name is None:
        return Advice(f"number {one.nr} of {arch}", notes=("it has no name, and rules have names",))
    what = f"{name} of {arch}" if arch is not policy.settings.arch else name
    asked = Question(arch, one.nr, name)
    lines: list[Line] = []
    notes: list[str] = []
    changed = policy
    if arch not in policy.settings.architectures:
        if arch not in policy.settings.arch.beside:
            return Advice(what, notes=(f"the policy is for {policy.settings.arch}, and another is needed",))
        changed = replace(
            policy, settings=replace(policy.settings, architectures=(*policy.settings.architectures, arch))
        )
        words = FlowList(each.value for each in changed.settings.architectures)
        lines.append(Line("settings", f"architectures: {inline(words)}"))
        notes.append(f"all that the policy allows is then allowed to programs of {arch} too")
    now = of_a_policy(policy, asked)
    said = {outcome.value for outcome in now.outcomes}
    answers = " or ".join(verdict(value) for value in sorted(said))
    if {denial.code & RET_ACTION_FULL for denial in denials} & {value & RET_ACTION_FULL for value in said}:
        notes.insert(0, f"by this policy it {answers}")
    else:
        notes.insert(0, f"by this policy it {answers}: another filter was at work, or an older policy")
    if said == {RET_ALLOW}:
        return Advice(what, notes=tuple(notes))
    if RET_ALLOW in said:
        notes += _differs(name, given)
    try:
        lines += _rule(name, asked, changed, given)
    except BadInput as error:
        return Advice(what, notes=(*notes, f"no line is found: {error.problems[0]}"))
    return Advice(what, tuple(lines), tuple(notes))


def _rule(name: str, asked: Question, policy: Policy, given: Policy) -> list[Line]:
    """What allows a call with all arguments. Raises BadInput when there is no filter for a policy with it."""
    if _allows(of_a_policy(policy, asked)):
        return []
    rule = SyscallRule(name, Action.ALLOW)
    own = [index for index, one in enumerate(given.syscalls) if one.name == name]
    # What has no constraints gives way to the new rule; what has some, too, where it still refuses.
    plain = [index for index in own if not given.syscalls[index].constraints]
    kept = [one for one in policy.syscalls if one.name != name or one.constraints]
    if not _allows(of_a_policy(replace(policy, syscalls=(*kept, rule)), asked)):
        plain, kept = own, [one for one in kept if one.name != name]
        of_a_policy(replace(policy, syscalls=(*kept, rule)), asked)
    document = to_document(Policy(syscalls=(rule,)))["syscalls"][0]
    return [Line("syscalls", f"- {inline(document)}", tuple(plain))]


def _allows(explanation: Explanation) -> bool:
    return all(outcome.value == RET_ALLOW for outcome in explanation.outcomes)


def _differs(name: str, given: Policy) -> list[str]:
    """That it depends on arguments, which records do not have."""
    limits = [described(one) for one in given.syscalls if one.name == name and one.constraints]
    ask = f"`scmm explain {name} ARGUMENTS -p POLICY` tells which"
    if not limits:
        return [f"it depends on the arguments, which the log does not have; {ask}"]
    rules = "; ".join(limits)
    return [f"it depends on the arguments, which the log does not have ({rules}); {ask}. The line allows all of them"]


# Landlock


def _path(path: str, rights: set[str], policy: Policy) -> Advice:
    ordered = tuple(right for right in ACCESS_RIGHTS if right in rights)
    what = f"{', '.join(ordered)} on {path or 'a path that the log does not have'}"
    if policy.filesystem is None:
        return Advice(what, notes=("this policy asks nothing of files: another Landlock domain denied it",))
    notes = []
    if path.endswith(_DELETED):
        path = path.removesuffix(_DELETED)
        notes.append("it had been removed: a rule for it holds if it is there when the program starts")
    try:
        pattern = Pattern.exact(path)
    except BadInput as error:
        return Advice(what, notes=(f"no rule can be written for it: {error.problems[0].message}",))
    if rights <= Files(policy.filesystem).rights(path):
        note = "this policy grants it: the path was not there when the program started, or an older policy was at work"
        return Advice(what, notes=(note,))
    same = (number for number, one in enumerate(policy.filesystem) if one.path == pattern.text and not one.excluded)
    index = next(same, None)
    rule = PathRule(pattern.text, ordered)
    if index is not None:
        old = policy.filesystem[index]
        both = {right for right in ACCESS_RIGHTS if right in old.access or right in rights}
        if "remove" in both:
            both -= {"remove_dir", "remove_file"}
        rule = replace(old, access=tuple(right for right in ACCESS_RIGHTS if right in both), origin=None)
    document = to_document(Policy(filesystem=(rule,)))["filesystem"]["rules"][0]
    others = [one for number, one in enumerate(policy.filesystem) if number != index]
    if not rights <= Files((*others, rule)).rights(path):
        return Advice(what, notes=(*notes, "no rule is found that grants it"))
    line = Line("filesystem.rules", f"- {inline(document)}", () if index is None else (index,))
    return Advice(what, (line,), (*notes, "if that is a directory, the rule holds for everything beneath it"))


def _port(direction: str, protocol: Protocol, port: int | None, policy: Policy) -> Advice:
    what = f"{'bind' if direction == 'inbound' else 'connect'} {protocol} port {'?' if port is None else port}"
    if policy.network is None:
        return Advice(what, notes=("this policy asks nothing of the network: another Landlock domain denied it",))
    if port is None:
        return Advice(what, notes=("the log does not have the port",))
    rules = policy.network.inbound if direction == "inbound" else policy.network.outbound
    same = [one for one in rules if one.protocol is protocol]
    if any(not one.ports or any(each.first <= port <= each.last for each in one.ports) for one in same):
        return Advice(what, notes=("this policy allows it: an older policy was at work",))
    rule = NetworkRule(protocol, ports=(PortRange(port, port),))
    network = Network(inbound=(rule,)) if direction == "inbound" else Network(outbound=(rule,))
    document = to_document(Policy(network=network))["network"][direction][0]
    return Advice(what, (Line(f"network.{direction}", f"- {inline(document)}"),))


def _other(blocker: str) -> Advice:
    if blocker.startswith("scope.") and blocker.removeprefix("scope.") in SCOPES:
        return Advice(blocker, notes=("this policy does not ask for it: another Landlock domain denied it",))
    why = {
        "ptrace": "Landlock denies it to every process in a domain, for processes outside of it",
        "fs.change_topology": "Landlock denies mounts to every process whose files are restricted",
    }.get(blocker, f"{short(blocker)} is not known here")
    return Advice(blocker, notes=(f"no line allows it: {why}",))
