"""SIGHUP: the rules are read anew, and what is wrong, or comes with a new start only, changes nothing."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from monitored import ALLOWED, DEADLINE_S, EPERM, UNDECIDED, Monitor, monitoring

from scmm_oci.enforcer.monitor import control


def again(monitor: Monitor, text: str, until: str, *, times: int = 1) -> None:
    """Write the rules, have them read, and wait for what is told of that."""
    (monitor.place / "monitor.yaml").write_text(text)
    os.kill(monitor.pid, signal.SIGHUP)
    monitor.wait_told(until, times=times)


def test_rules_are_read_anew_unless_something_is_wrong(tmp_path: Path) -> None:
    with monitoring(tmp_path) as monitor, monitor.asks() as asked:
        before = (tmp_path / "monitor.yaml").read_text()
        denying = {**json.loads(before), "rules": [{"syscalls": ["getsid"], "decision": "program"}]}
        assert asked.ask(f"call {ALLOWED}") == str(asked.pid)

        again(monitor, json.dumps({**denying, "defualt": "deny"}), "the rules stay as they were")
        assert "'defualt' is not a key that may stand here (did you mean 'default'?" in monitor.told
        assert asked.ask(f"call {ALLOWED}") == str(asked.pid)

        other = {**denying, "program": ["/bin/true"]}
        again(monitor, json.dumps(other), "the rules stay as they were", times=2)
        assert ".program: is another than the one that runs (start the monitor again for that)" in monitor.told
        assert asked.ask(f"call {ALLOWED}") == str(asked.pid)

        again(monitor, json.dumps(denying), "read anew")
        assert asked.ask(f"call {ALLOWED}") == str(EPERM)
        again(monitor, before, "read anew", times=2)
        assert asked.ask(f"call {ALLOWED}") == str(asked.pid)


def test_the_status_names_files_as_anybody_can(tmp_path: Path) -> None:
    log = os.path.relpath(tmp_path / "log")
    with monitoring(tmp_path, "--log", log) as monitor:
        found = control.ask(control.path_beside(str(monitor.socket)))
    assert not os.path.isabs(log) and found["log"]["file"] == str(tmp_path / "log")


def test_a_new_timeout_is_that_of_a_program_that_decides_too(tmp_path: Path) -> None:
    """It says nothing, so who asks it waits for as long as that."""
    with monitoring(tmp_path) as monitor, monitor.asks() as asked:
        before = json.loads((tmp_path / "monitor.yaml").read_text())
        assert before["timeout"] > DEADLINE_S
        assert asked.ask(f"call {ALLOWED}") == str(asked.pid)  # from when it serves it heeds signals
        again(monitor, json.dumps({**before, "timeout": 1}), "read anew")
        assert asked.ask(f"call {UNDECIDED}") == str(EPERM)
