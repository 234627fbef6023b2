"""Check what the words of a policy mean: that each is a system call, an errno, a flag, a capability, an address.

Works on the plain document, less what the schema has found bad in it, so that every problem keeps its place. Called
by policy.document only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from scmm_oci.errors import Problem, short, unknown_value
from scmm_oci.schema import Found, Steps
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.vocabulary import CAPABILITIES, FLAGS, capability


def check(document: dict[str, Any]) -> Iterator[Found]:
    """Everything wrong with the document's words. Keys may be missing from it, and items of lists may be None."""
    settings = document.get("settings", {})
    arch = Arch(settings.get("arch", Arch.X86_64))
    beside = [Arch(name) for name in settings.get("architectures", ()) if name is not None]
    yield from _settings(settings, arch)
    yield from _syscalls(document.get("syscalls", ()), list(dict.fromkeys([arch, *beside])))
    for index, word in enumerate(document.get("capabilities", ())):
        if word is not None and capability(word) is None:
            known = [f"CAP_{name}" for name in CAPABILITIES]
            yield _unknown(("capabilities", index), "a capability", word, known)
    network = document.get("network", {})
    for holder, path in ((network, ("network",)), (network.get("tcp", {}), ("network", "tcp"))):
        for direction in ("outbound", "inbound"):
            for index, rule in enumerate(holder.get(direction, ())):
                if rule is not None:
                    yield from _addresses(rule, (*path, direction, index))


def _settings(settings: dict[str, Any], arch: Arch) -> Iterator[Found]:
    errno = settings.get("default_errno", "EPERM")
    if errnos.number(errno) is None:
        yield Found(("settings", "default_errno"), errnos.unknown("", errno))
    for index, name in enumerate(settings.get("architectures", ())):
        if name is not None and name != arch and Arch(name) not in arch.beside:
            yield _bad(("settings", "architectures", index), f"a kernel of {arch} does not run {name}")


def _syscalls(rules: Sequence[dict[str, Any] | None], arches: list[Arch]) -> Iterator[Found]:
    known: set[str] = set().union(*(syscalls.numbers(arch) for arch in arches))
    plain: dict[str, int] = {}
    for index, rule in enumerate(rules):
        if rule is None:
            continue
        path: Steps = ("syscalls", index)
        name = rule.get("name")
        if name is not None and name not in known:
            yield _unknown_syscall((*path, "name"), name, arches, known)
        if name is not None and not rule.get("constraints"):
            first = plain.setdefault(name, index)
            if first != index:
                yield _bad((*path, "name"), f"{name} has a rule at .syscalls[{first}] already")
        errno = rule.get("errno")
        if errno is not None and rule.get("action", "deny") != "deny":
            yield _bad((*path, "errno"), f"an errno goes with the action deny, not {rule['action']}")
        if errno is not None and errnos.number(errno) is None:
            yield Found((*path, "errno"), errnos.unknown("", errno))
        for number, constraint in enumerate(rule.get("constraints", ())):
            if constraint is not None:
                yield from _constraint(constraint, (*path, "constraints", number))


def _unknown_syscall(path: Steps, name: str, arches: list[Arch], known: Collection[str]) -> Found:
    what = f"a system call of {' or '.join(arches)}"
    elsewhere = [arch for arch in syscalls.ARCHES if name in syscalls.numbers(arch)]
    if elsewhere:
        return _bad(path, f"{short(name)} is not {what}", f"it is one of {', '.join(elsewhere)}")
    return _unknown(path, what, name, known)


def _constraint(constraint: dict[str, Any], path: Steps) -> Iterator[Found]:
    kind = constraint.get("type")
    for key in ("allowed", "denied"):
        for index, word in enumerate(constraint.get(key, ())):
            if word is None or word in FLAGS:
                continue
            if kind == "flags":
                yield _unknown((*path, key, index), "a flag", word, FLAGS)
            elif kind == "integer" and not _is_integer(word):
                yield _unknown((*path, key, index), "a flag or a whole number", word, FLAGS)
    for index, match in enumerate(constraint.get("match", ())):
        pattern = (match or {}).get("pattern")
        exact = (match or {}).get("type", "exact") == "exact"
        if pattern is not None and kind == "integer" and exact and not _is_integer(pattern):
            yield _bad((*path, "match", index, "pattern"), f"{short(pattern)} is not a whole number")
    if not any(constraint.get(key) for key in ("match", "allowed", "denied")):
        yield _bad(path, "constrains nothing", "give match, allowed or denied")


def _addresses(rule: dict[str, Any], path: Steps) -> Iterator[Found]:
    for key in ("addresses", "observed_addresses"):
        for index, word in enumerate(rule.get(key, ())):
            if word is not None and word != "any" and not _is_network(word):
                yield _bad((*path, key, index), f"{short(word)} is not a network such as 10.0.0.0/8, nor 'any'")


def _bad(path: Steps, message: str, hint: str = "") -> Found:
    return Found(path, Problem("", message, hint))


def _unknown(path: Steps, what: str, word: str, known: Collection[str]) -> Found:
    return Found(path, unknown_value("", what, word, sorted(known)))


def _is_integer(text: str) -> bool:
    try:
        int(text, 0)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
