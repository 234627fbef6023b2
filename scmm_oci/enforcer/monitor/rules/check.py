"""Check what the words of monitor.yaml mean, and that the keys of a rule go together.

Works on the plain document, less what the schema has found bad in it, so that every problem keeps its place. `check`
is called by rules.load; what words stand for, others ask here as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scmm_oci.enforcer.monitor.behalf.table import CALLS
from scmm_oci.enforcer.monitor.rules.check_address import check_address
from scmm_oci.enforcer.monitor.rules.check_pattern import check_pattern
from scmm_oci.errors import Problem, short, unknown_value
from scmm_oci.policy.check_constraints import check_constraint
from scmm_oci.schema import Found, Steps
from scmm_oci.settings_file import is_place
from scmm_oci.tables import errnos, groups, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.operations import FILE_CALLS

# `times` beside numbers.
TIMES = {"always": 0, "once": 1}

# What people who are asked, and programs, may say is deny.
_WITH_ERRNO = ("deny", "ask", "program")


def check(document: dict[str, Any], arch: Arch) -> Iterator[Found]:
    """Everything wrong with the document's words. Keys may be missing from it, and items of lists may be None."""
    yield from _errno(document, ())
    rules: list[tuple[Steps, dict[str, Any]]] = [
        (("rules", index), rule) for index, rule in enumerate(document.get("rules", ())) if rule is not None
    ]
    decisions: list[tuple[Steps, object]] = [(("default",), document.get("default"))]
    decisions += [((*path, "decision"), rule.get("decision")) for path, rule in rules]
    for where, word in decisions:
        if word == "program" and "program" not in document:
            yield _bad(where, "there is no program to ask", "say which: program: [/usr/local/bin/decide]")
    yield from _program(document.get("program", ()))
    for path, rule in rules:
        yield from _rule(rule, path, arch)


def arch_of(call: str, own: Arch) -> Arch:
    """The ABI that a rule's words about a call are read for: the machine's own, else the next that has the call."""
    near = (own, *own.beside, *map(Arch, syscalls.ARCHES))
    return next((one for one in near if call in syscalls.numbers(one)), own)


def names_of(syscalls_of_rule: tuple[str, ...]) -> tuple[str, ...]:
    """The calls that a rule names, those of groups among them; sorted, each once."""
    found: set[str] = set()
    for word in syscalls_of_rule:
        found.update([member.name for member in groups.expand(word)] if word.startswith("@") else [word])
    return tuple(sorted(found))


def _program(words: list[str | None]) -> Iterator[Found]:
    for index, word in enumerate(words):
        if word is None:
            continue
        if "\0" in word:
            yield _bad(("program", index), "holds a zero byte, which no argument can")
        elif index == 0 and not is_place(word):
            yield _bad(("program", 0), f"{short(word)} is not an absolute path", "write the path that the file has")


def _rule(rule: dict[str, Any], path: Steps, arch: Arch) -> Iterator[Found]:
    yield from _together(rule, path)
    yield from _errno(rule, path)
    known = [(number, word) for number, word in enumerate(rule.get("syscalls", ())) if word is not None]
    named = []
    for number, word in known:
        unknown = list(_name((*path, "syscalls", number), word))
        yield from unknown
        if not unknown:
            named.append(((*path, "syscalls", number), word))
    if "executable" in rule:
        yield from check_pattern(rule["executable"], (*path, "executable"))
    yield from _paths(rule, path)
    for key in ("args", "path", "address"):
        if key in rule and "syscalls" not in rule:
            yield _bad((*path, key), "needs syscalls", "say which calls it is about")
    for where, word in named:
        if "args" in rule:
            yield from _args(rule["args"], word, path, arch)
        for key in ("path", "address"):
            if key in rule:
                yield from _behalf(where, word, key)
    if "address" in rule:
        yield from check_address(rule["address"], (*path, "address"))


def _together(rule: dict[str, Any], path: Steps) -> Iterator[Found]:
    """Keys that mean nothing with the rule's decision."""
    decision = rule.get("decision")
    if decision is not None:
        if "errno" in rule and decision not in _WITH_ERRNO:
            yield _bad((*path, "errno"), f"an errno goes with the decision deny, not {decision}")
        if "value" in rule and decision != "return":
            yield _bad((*path, "value"), f"a value goes with the decision return, not {decision}")
        if "remember" in rule and decision != "ask":
            yield _bad((*path, "remember"), f"answers are remembered with the decision ask, not {decision}")
    value = rule.get("value")
    if value is not None and -errnos.MAX <= value < 0:
        name = errnos.name(-value)
        yield _bad((*path, "value"), f"{value} is how the kernel says {name}", f"write decision: deny, errno: {name}")
    times = rule.get("times")
    if isinstance(times, str) and times not in TIMES:
        yield Found((*path, "times"), unknown_value("", "always, once or a number", times, list(TIMES)))


def _errno(holder: dict[str, Any], path: Steps) -> Iterator[Found]:
    if "errno" in holder and errnos.number(holder["errno"]) is None:
        yield Found((*path, "errno"), errnos.unknown("", holder["errno"]))


def _name(path: Steps, word: str) -> Iterator[Found]:
    if word.startswith("@"):
        if word not in groups.groups():
            problem = unknown_value("", "a group", word, sorted(groups.groups()))
            yield Found(path, Problem("", problem.message, problem.hint or "`scmm groups` lists them"))
    elif word not in syscalls.all_names():
        yield Found(path, unknown_value("", "a system call", word, sorted(syscalls.all_names())))


def _args(args: list[dict[str, Any] | None], call: str, path: Steps, own: Arch) -> Iterator[Found]:
    for number, constraint in enumerate(args):
        if constraint is not None:
            arch = arch_of(call, own)
            yield from check_constraint(_as_in_policies(constraint), call, [arch], (*path, "args", number))


def _as_in_policies(constraint: dict[str, Any]) -> dict[str, Any]:
    return {**constraint, "arg": str(constraint["arg"])} if "arg" in constraint else constraint


def _paths(rule: dict[str, Any], path: Steps) -> Iterator[Found]:
    given = rule.get("path", ())
    if isinstance(given, str):
        yield from check_pattern(given, (*path, "path"))
        return
    for index, text in enumerate(given):
        if text is not None:
            yield from check_pattern(text, (*path, "path", index))


def _behalf(path: Steps, word: str, key: str) -> Iterator[Found]:
    """That a call whose memory decides can be made by the monitor: the program can change it after it was read."""
    if word.startswith("@"):
        names = [member.name for member in groups.expand(word)]
        fit = [name for name in names if _takes(name, key)]
        if len(fit) < len(names):
            rest = next(name for name in names if name not in fit)
            hint = f"name the calls of it that can: {', '.join(fit)}" if fit else "none of its calls can"
            yield _bad(path, f"{key} cannot decide about all calls of {word}, such as {rest}", hint)
    elif not _takes(word, key):
        file = FILE_CALLS.get(word)
        if key == "address" and (word in CALLS or file is None):
            yield _bad(path, f"{word} has no address of a socket", "that is for connect and bind")
        elif key == "path" and (file is None or not file.names):
            yield _bad(path, f"{word} has no path", "decide about it without one")
        else:
            where = "filesystem" if key == "path" else "network"
            yield _bad(
                path,
                f"the monitor cannot make {word} itself, and the program could change its {key} after it was read",
                f"decide about {word} without {key}; the section {where} of a policy holds for it too",
            )


def _takes(call: str, key: str) -> bool:
    return call in CALLS and (key == "path" or (call in FILE_CALLS and FILE_CALLS[call].kind == "address"))


def _bad(path: Steps, message: str, hint: str = "") -> Found:
    return Found(path, Problem("", message, hint))
