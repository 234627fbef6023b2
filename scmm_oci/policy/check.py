"""Check what the words of a policy mean: that each is a system call, an errno, a flag, a capability, an address.

Works on the plain document, less what the schema has found bad in it, so that every problem keeps its place. Called
by policy.document only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from scmm_oci.errors import BadInput, Problem, short, unknown_value
from scmm_oci.oci.richcheck import ARCHES as MACHINES
from scmm_oci.policy.check_constraints import check_constraint
from scmm_oci.policy.check_exceptions import check_exceptions
from scmm_oci.policy.check_names import name_problem
from scmm_oci.policy.check_transitions import check_transitions
from scmm_oci.policy.paths.patterns import Pattern, is_plain
from scmm_oci.schema import Found, Steps
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.vocabulary import CAPABILITIES, capability


def check(document: dict[str, Any], given: Collection[str]) -> Iterator[Found]:
    """Everything wrong with the document's words. Keys may be missing from it, and items of lists may be None.

    Args:
        given: the sections that it had before the schema's problems were taken out of it.
    """
    settings = document.get("settings", {})
    arch = Arch(settings.get("arch", Arch.X86_64))
    beside = [Arch(name) for name in settings.get("architectures", ()) if name is not None]
    arches = list(dict.fromkeys([arch, *beside]))
    yield from _settings(settings, arch)
    # An imported profile is for many machines, and names calls that only some of them have.
    named = [Arch(one) for one in syscalls.ARCHES] if settings.get("arch_map") else arches
    known: set[str] = set().union(*(syscalls.numbers(one) for one in named))
    yield from _syscalls(document.get("syscalls", ()), arches, known)
    for index, word in enumerate(document.get("capabilities", ())):
        if word is not None:
            yield from _capability(word, ("capabilities", index))
    for index, rule in enumerate(document.get("filesystem", {}).get("rules", ())):
        if rule is not None and "path" in rule and not is_plain(rule["path"]):
            yield from _pattern(rule["path"], ("filesystem", "rules", index, "path"))
        if rule is not None and "except" in rule:
            yield from check_exceptions(rule, ("filesystem", "rules", index))
    network = document.get("network", {})
    for holder, path in ((network, ("network",)), (network.get("tcp", {}), ("network", "tcp"))):
        for direction in ("outbound", "inbound"):
            for index, rule in enumerate(holder.get(direction, ())):
                if rule is not None:
                    yield from _network(rule, (*path, direction, index))
    yield from check_transitions(document, given, arches, known)


def _settings(settings: dict[str, Any], arch: Arch) -> Iterator[Found]:
    errno = settings.get("default_errno", "EPERM")
    if errnos.number(errno) is None:
        yield Found(("settings", "default_errno"), errnos.unknown("", errno))
    for index, name in enumerate(settings.get("architectures", ())):
        if name is not None and name != arch and Arch(name) not in arch.beside:
            yield _bad(("settings", "architectures", index), f"a kernel of {arch} does not run {name}")
    action = settings.get("default_action", "deny")
    if "default_message" in settings and action != "trace":
        yield _bad(("settings", "default_message"), f"a message goes with the action trace, not {action}")
    if action == "notify":
        yield _bad(("settings", "default_action"), "notify cannot be the default: runtimes refuse it")
    if "metadata" in settings.get("listener", {}) and "path" not in settings["listener"]:
        yield _bad(("settings", "listener", "metadata"), "has no meaning without a path")


def _syscalls(rules: Sequence[dict[str, Any] | None], arches: list[Arch], known: Collection[str]) -> Iterator[Found]:
    plain: dict[tuple[Any, ...], int] = {}
    for index, rule in enumerate(rules):
        if rule is None:
            continue
        path: Steps = ("syscalls", index)
        if ("name" in rule) == ("names" in rule) and "action" in rule:
            yield _bad(path, "needs a name, or a list of names, and not both")
        for where, name in _names(rule, path):
            problem = name_problem(name, arches, known)
            if problem is not None:
                yield Found(where, problem)
                continue
            if not rule.get("constraints"):
                scope = (name, repr(rule.get("includes")), repr(rule.get("excludes")))
                first = plain.setdefault(scope, index)
                if first != index:
                    yield _bad(where, f"{name} has a rule at .syscalls[{first}] already")
            for number, constraint in enumerate(rule.get("constraints", ())):
                if constraint is not None:
                    yield from check_constraint(constraint, name, arches, (*path, "constraints", number))
        yield from _answer(rule, path)
        for key in ("includes", "excludes"):
            for number, word in enumerate(rule.get(key, {}).get("capabilities", ())):
                if word is not None:
                    yield from _capability(word, (*path, key, "capabilities", number))
            for number, word in enumerate(rule.get(key, {}).get("architectures", ())):
                if word is not None and word not in MACHINES:
                    yield _unknown((*path, key, "architectures", number), "a machine of an engine", word, MACHINES)


def _names(rule: dict[str, Any], path: Steps) -> Iterator[tuple[Steps, str]]:
    if isinstance(rule.get("name"), str):
        yield (*path, "name"), rule["name"]
    for number, name in enumerate(rule.get("names", ())):
        if name is not None:
            yield (*path, "names", number), name


def _answer(rule: dict[str, Any], path: Steps) -> Iterator[Found]:
    action = rule.get("action")
    errno = rule.get("errno")
    if errno is not None and action not in (None, "deny"):
        yield _bad((*path, "errno"), f"an errno goes with the action deny, not {action}")
    if errno is not None and errnos.number(errno) is None:
        yield Found((*path, "errno"), errnos.unknown("", errno))
    if "message" in rule and action not in (None, "trace"):
        yield _bad((*path, "message"), f"a message goes with the action trace, not {action}")
    if action == "notify" and any(name == "write" for _, name in _names(rule, path)):
        yield _bad((*path, "action"), "notify cannot be for write: runtimes refuse it")


def _capability(word: str, path: Steps) -> Iterator[Found]:
    if capability(word) is None:
        yield _unknown(path, "a capability", word, [f"CAP_{name}" for name in CAPABILITIES])


def _pattern(text: str, path: Steps) -> Iterator[Found]:
    try:
        Pattern.parse(text)
    except BadInput as error:
        for problem in error.problems:
            yield _bad(path, problem.message, problem.hint)


def _network(rule: dict[str, Any], path: Steps) -> Iterator[Found]:
    for key in ("addresses", "observed_addresses"):
        for index, word in enumerate(rule.get(key, ())):
            if word is not None and word != "any" and not _is_network(word):
                yield _bad((*path, key, index), f"{short(word)} is not a network such as 10.0.0.0/8, nor 'any'")
    for index, ports in enumerate(rule.get("ports", ())):
        if isinstance(ports, str):
            first, last = (int(part) for part in ports.split("-"))
            if not first <= last <= 65535:
                yield _bad((*path, "ports", index), f"{short(ports)} is not a range of ports from 0 to 65535")


def _bad(path: Steps, message: str, hint: str = "") -> Found:
    return Found(path, Problem("", message, hint))


def _unknown(path: Steps, what: str, word: str, known: Collection[str]) -> Found:
    return Found(path, unknown_value("", what, word, sorted(known)))


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
