"""Rules of several kinds for one call, as a real monitor decides by them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monitored import EPERM, ground, monitoring


def opened(asked: Any, path: Path) -> str:
    """The errno of opening a file."""
    return str(asked.ask(f"open 1 1 0 {path}").split()[3])


def test_a_rule_before_those_for_paths_decides_by_itself(tmp_path: Path) -> None:
    """So the call is made by whoever makes it, also where it could not be made on behalf."""

    def first_of_three(rules: dict[str, Any]) -> None:
        rules["rules"] = [
            {"syscalls": ["openat"], "executable": str(ground().asks), "times": 3, "decision": "allow"},
            {"syscalls": ["openat"], "path": f"{tmp_path}/open/**", "decision": "allow"},
            {"syscalls": ["openat"], "executable": str(ground().asks), "decision": "deny"},
        ]

    log = tmp_path / "log"
    with monitoring(tmp_path, "--log", str(log), change=first_of_three) as monitor, monitor.asks() as asked:
        shut, open_ = tmp_path / "shut" / "file", tmp_path / "open" / "file"
        assert [opened(asked, shut) for _ in range(3)] == ["0"] * 3
        assert opened(asked, shut) == str(EPERM)
        assert opened(asked, open_) == "0"
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["detail"], one.get("on_behalf", False)) for one in calls if one["call"] == "openat"] == [
        *[("rules[0]", False)] * 3,
        ("rules[2]", False),
        ("rules[1]", True),
    ]
