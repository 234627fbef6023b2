"""What the command line asks of a monitor, as a value, and the rules with what it says of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from scmm_oci.enforcer.monitor.remembered import default_path
from scmm_oci.enforcer.monitor.rules.load import load
from scmm_oci.enforcer.monitor.rules.model import Outcome, RuleSet, Settings
from scmm_oci.errors import BadInput, Problem
from scmm_oci.tables.arch import from_machine


@dataclass(frozen=True)
class Wanted:
    """The options of the command line."""

    socket: str
    rules: str | None
    learn: str | None
    default: str | None
    timeout: int | None
    decisions: str | None
    log: str | None
    metrics: str | None
    pid_file: str | None
    no_prompt: bool
    filtered_peers: bool
    quiet: bool


def check_apart(wanted: Wanted) -> None:
    """Raises BadInput where two options name one file: each is written in a way of its own."""
    given = (
        ("--rules", wanted.rules),
        ("--learn", wanted.learn),
        ("--decisions", wanted.decisions or default_path()),
        ("--log", wanted.log),
        ("--pid-file", wanted.pid_file),
    )
    named: dict[str, list[str]] = {}
    for option, path in given:
        if path is not None:
            named.setdefault(os.path.realpath(path), []).append(option)
    problems = [
        Problem(", ".join(options), f"name the same file, {path}", "each needs one of its own")
        for path, options in named.items()
        if len(options) > 1
    ]
    if problems:
        raise BadInput(problems)


def rules_of(wanted: Wanted) -> RuleSet:
    """The rules, with what the command line says of them.

    Raises:
        BadInput: the file is none.
    """
    if wanted.rules is not None:
        found = load(wanted.rules)
    else:
        found = RuleSet(settings=Settings(default=Outcome.ASK), arch=from_machine(os.uname().machine))
    settings = found.settings
    if wanted.default == Outcome.PROGRAM and not settings.program:
        hint = "write `program: [/path/to/it]` into the rules, and give them with --rules"
        raise BadInput([Problem("--default", "no program is named that could decide", hint)])
    if wanted.default is not None:
        settings = replace(settings, default=Outcome(wanted.default))
    if wanted.timeout is not None:
        settings = replace(settings, timeout=wanted.timeout)
    return replace(found, settings=settings)
