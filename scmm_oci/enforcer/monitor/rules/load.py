"""Read monitor.yaml: every word in it is checked, and all errors are told at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from typing import Any

from scmm_oci.enforcer.monitor.rules.check import TIMES, arch_of, check, names_of
from scmm_oci.enforcer.monitor.rules.check_address import family, network
from scmm_oci.enforcer.monitor.rules.model import Limits, Outcome, Peers, Remember, Rule, RuleSet, Settings
from scmm_oci.enforcer.monitor.rules.reach import findings
from scmm_oci.enforcer.trusted import read_policy
from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy import advice, constraints
from scmm_oci.policy.model import ArgType, Constraint, Operator, PortRange
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.policy.yaml.source import load as load_yaml
from scmm_oci.schema import MOST, Advice, Found, Steps, problems, prune
from scmm_oci.tables import errnos
from scmm_oci.tables.arch import Arch, from_machine

MAX_BYTES = 4 << 20

# Keys whose values are lists, and often have one item only.
_LISTS = frozenset({"args", "names", "networks", "paths", "ports", "program", "syscalls", "allowed", "denied"})


def load(path: str | os.PathLike[str]) -> RuleSet:
    """The rules in a file, for this machine.

    Raises:
        BadInput: it cannot be read, is a symbolic link, too large or no rules, or somebody else could have written it
            or the program that it names: they belong to neither root nor us, or their group or others may write.
    """
    name = os.fspath(path)
    data = read_policy(name, MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise BadInput([Problem("", f"is larger than {MAX_BYTES} bytes")], source=name)
    found = parse(data, source=name, arch=from_machine(os.uname().machine))
    if found.settings.program:
        wrong = list(_untrusted(found.settings.program[0]))
        if wrong:
            raise BadInput(wrong, source=name)
    return found


def parse(data: bytes, *, source: str = "", arch: Arch = Arch.X86_64) -> RuleSet:
    """The rules in a YAML text.

    Args:
        source: the file's name, for the messages.
        arch: the machine's ABI: what the places and words of arguments are those of.

    Raises:
        BadInput: they are none; each problem with its line, column and path.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput([Problem(f"byte {error.start}", "is not UTF-8")], source=source) from error
    loaded = load_yaml(text, source=source)
    bad = problems(loaded.value, "monitor", advice=_ADVICE)
    found = [*bad, *islice(check(prune(loaded.value, bad), arch), MOST)]
    if found:
        raise BadInput(loaded.problems(found), source=source)
    rules = tuple(_rule(rule) for rule in loaded.value.get("rules", ()))
    found = [one for index, rule in enumerate(rules) for one in _untestable(rule, index, arch)]
    if found:
        raise BadInput(loaded.problems(found), source=source)
    settings = _settings(loaded.value)
    return RuleSet(settings, rules, arch, findings(settings, rules, arch))


def _settings(document: dict[str, Any]) -> Settings:
    return Settings(
        default=Outcome(document.get("default", Outcome.DENY)),
        errno=errnos.number(document.get("errno", "EPERM")) or errnos.ERRNOS["EPERM"],
        timeout=document.get("timeout", Settings.timeout),
        limits=Limits(**document.get("limits", {})),
        program=tuple(document.get("program", ())),
    )


def _rule(document: dict[str, Any]) -> Rule:
    given = document.get("path", ())
    times = document.get("times", "always")
    return Rule(
        decision=Outcome(document["decision"]),
        container=document.get("container"),
        executable=Pattern.parse(document["executable"]) if "executable" in document else None,
        user=document.get("user"),
        syscalls=tuple(document["syscalls"]) if "syscalls" in document else None,
        args=tuple(_constraint(one) for one in document.get("args", ())),
        paths=tuple(Pattern.parse(text) for text in ([given] if isinstance(given, str) else given)),
        address=_peers(document["address"]) if "address" in document else None,
        errno=errnos.number(document["errno"]) if "errno" in document else None,
        value=document.get("value", 0),
        times=TIMES[times] if isinstance(times, str) else times,
        remember=Remember(document.get("remember", Remember.ALWAYS)),
    )


def _constraint(document: dict[str, Any]) -> Constraint:
    return Constraint(
        arg=int(document["arg"]),
        type=ArgType(document["type"]),
        allowed=tuple(document.get("allowed", ())),
        denied=tuple(document.get("denied", ())),
        op=Operator(document["op"]) if "op" in document else None,
        value=document.get("value"),
        mask=document.get("mask"),
    )


def _peers(document: dict[str, Any]) -> Peers:
    return Peers(
        family=family(document["family"]) if "family" in document else None,
        networks=tuple(network(text) for text in document.get("networks", ())),
        ports=tuple(_ports(item) for item in document.get("ports", ())),
        paths=tuple(Pattern.parse(text) for text in document.get("paths", ())),
        names=tuple(document.get("names", ())),
    )


def _ports(item: int | str) -> PortRange:
    first, _, last = str(item).partition("-")
    return PortRange(int(first), int(last or first))


def _untestable(rule: Rule, index: int, arch: Arch) -> Iterator[Found]:
    """What of a rule's arguments comes to more comparisons than are made."""
    if not rule.args:
        return
    for name in names_of(rule.syscalls or ()):
        try:
            constraints.alternatives(rule.args, name, arch_of(name, arch), unequal=True)
        except BadInput as error:
            for problem in error.problems:
                yield Found(("rules", index, "args"), problem)


def _untrusted(program: str) -> Iterator[Problem]:
    place = f".program: {program}"
    try:
        status = os.stat(program)
    except OSError as error:
        yield Problem(place, f"cannot be run: {error.strerror}")
        return
    if not stat.S_ISREG(status.st_mode) or not os.access(program, os.X_OK):
        yield Problem(place, "is no program that can be run", "chmod +x makes one of a script")
    if status.st_uid not in (0, os.geteuid()):
        yield Problem(place, "belongs to another user, who could change it", "make a copy of it")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Problem(place, "may be written by others", "take that right away: chmod go-w")


def _hint(path: Steps, value: object) -> str:
    last = path[-1] if path else ""
    if last == "user" and isinstance(value, str):
        return "a number such as 33; `id` tells those of a user"
    if last in _LISTS and isinstance(value, str) and value.isascii() and value.isprintable() and len(value) <= 60:
        return f'a list of one is ["{value}"]' if set(value) & set('@*"#:{}[],&!|>%') else f"a list of one is [{value}]"
    return advice.hint(path, value)


# Words of policies and of libseccomp, where one of ours means the same.
_SAME = {"kill_thread": "kill", "notify": "ask", "trap": "deny"}
_MEANT = {word: _SAME.get(meant, meant) for word, meant in advice.ACTIONS.items()}
_DECISIONS = {
    **{word: meant for word, meant in _MEANT.items() if meant in list(Outcome)},
    **_SAME,
    "prompt": "ask",
    "script": "program",
}

_ADVICE = Advice({"decision": _DECISIONS, "default": _DECISIONS}, _hint)
