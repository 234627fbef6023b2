"""Which rules hold no more once what was learnt is in a policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scmm_oci.enforcer.monitor.learning import Learning
from scmm_oci.enforcer.monitor.learnt_file import LearntFile
from scmm_oci.enforcer.monitor.model import By, Call, Decision, Target, Verdict
from scmm_oci.enforcer.monitor.record import Decided
from scmm_oci.enforcer.monitor.rules.load import parse
from scmm_oci.enforcer.monitor.unasked import unasked
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers


def told(*rules: dict[str, Any], allowed: tuple[str, ...]) -> list[str]:
    found = parse(json.dumps({"version": "1.0", "default": "ask", "rules": list(rules)}).encode())
    return [one.message for one in unasked(found.rules, allowed)]


def test_a_rule_that_refused_nothing_of_a_call_that_is_allowed_is_told() -> None:
    rule = {"syscalls": ["openat", "open"], "path": "/etc/shadow", "decision": "deny"}
    assert told(rule, allowed=("openat", "read")) == [
        "rules[0] (deny) speaks of openat, which it did not have to refuse while it was learnt: with the learnt policy "
        "nobody is asked about it"
    ]
    assert told(rule, allowed=("read",)) == []


def test_each_rule_but_those_that_allow() -> None:
    for decision in ("deny", "kill", "return", "ask"):
        assert len(told({"syscalls": ["getpid"], "user": 33, "decision": decision}, allowed=("getpid",))) == 1
    assert told({"syscalls": ["getpid"], "user": 33, "decision": "allow"}, allowed=("getpid",)) == []


def test_groups_and_rules_for_every_call() -> None:
    assert (
        "speaks of openat," in told({"syscalls": ["@file-io"], "user": 33, "decision": "deny"}, allowed=("openat",))[0]
    )
    many = tuple(sorted(numbers(Arch.X86_64)))[:20]
    (every,) = told({"user": 33, "decision": "deny"}, allowed=many)
    assert many[7] in every and many[8] not in every and " and 12 more," in every


def test_the_file_tells_what_it_allows_and_not_what_it_leaves_out(tmp_path: Path) -> None:
    made = Learning(now=lambda: 0.0)
    target = Target("id", "name", 1, "")

    def add(name: str, args: tuple[int, ...], decision: Decision) -> None:
        words: Any = (*args, *(0,) * (6 - len(args)))
        call = Call(Arch.X86_64, Arch.X86_64.audit, numbers(Arch.X86_64)[name], name, words)
        made.add(Decided(at=0.0, target=target, call=call, decision=decision))

    add("chmod", (0x1000, 0o644), Decision(Verdict.ALLOW, By.LEARNING))
    add("unlink", (0x1000,), Decision(Verdict.ALLOW, By.LEARNING))
    add("unlink", (0x1000,), Decision(Verdict.DENY, By.RULE))
    file = LearntFile(tmp_path / "delta.scmm.yaml", made, arch=Arch.X86_64, now=lambda: 0.0, tell=lambda line: None)
    file.finish()
    assert file.allowed == {"chmod"}
