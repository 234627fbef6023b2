"""What a real monitor learns of a real program: merged with the policy that asked, it is all that the program needs."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from monitored import ALLOWED, DEADLINE_S, DENIED, EPERM, Monitor, monitoring
from recording import as_from_a_shell

from rig.process import wait_until
from scmm_oci.policy import document
from scmm_oci.policy.merge import canonical
from scmm_oci.policy.model import Action

_BASE = """\
version: "1.0"
metadata: {name: shell}
settings: {default_action: deny}
syscalls:
  - {name: execve, action: allow}
  - {name: chroot, action: deny, errno: EACCES}
filesystem:
  rules:
    - {path: /, access: [read_file, read_dir, execute, write_file, make_dir, remove_dir]}
    - {path: /**, access: [read_file, read_dir, execute, write_file, make_dir, remove_dir]}
"""


def scmm(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``scmm``, and hand back what became of it."""
    return subprocess.run(
        [sys.executable, "-m", "scmm_oci.cli.main", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        preexec_fn=as_from_a_shell,
    )


def shell(policy: Path, text: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a shell under a policy."""
    return scmm("enforce", "-p", policy, *options, "--", "/bin/sh", "-c", text)


def logged(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def ended(monitor: Monitor, times: int) -> None:
    """Until the monitor has seen its targets' end."""
    monitor.wait_told("shell: ended", times=times)


def test_a_program_runs_without_questions_under_what_was_learnt(tmp_path: Path) -> None:
    base, delta, new, log = (tmp_path / name for name in ("base.scmm.yaml", "delta.scmm.yaml", "new.scmm.yaml", "log"))
    base.write_text(_BASE)
    made = tmp_path / "made"
    program = f"mkdir {made}; rmdir {made}; echo done"

    def rules(given: dict[str, Any]) -> None:
        given["rules"] = []
        del given["program"]

    options = ("--learn", str(delta), "--log", str(log), "--metrics", "127.0.0.1:0")
    with monitoring(tmp_path, *options, change=rules) as monitor:
        ask = ("--mode", "ask", "--listener", monitor.socket)
        assert shell(base, program).stdout == ""  # control: under the base alone it cannot even start
        found = shell(base, program, *ask)
        assert (found.stdout, found.returncode) == ("done\n", 0), found.stderr
        ended(monitor, 1)
        status = json.loads(scmm("monitor", "status", "--json", "--socket", monitor.socket).stdout)
        assert status["decisions"]["by"]["learning"] > 20 and status["targets"] == []
        metrics = monitor.told.partition("metrics: ")[2].split()[0]
        with urllib.request.urlopen(metrics, timeout=DEADLINE_S) as answer:
            assert b'syscall="mkdir",verdict="allow"' in answer.read()
        wait_until(lambda: '"call":"write"' in log.read_text(), deadline_s=DEADLINE_S, what="the log")
        # The last of its calls.
        wait_until(lambda: "name: write" in delta.read_text(), deadline_s=DEADLINE_S, what="the delta")

        # What is asked now is nothing at all.
        merged = scmm("merge", base, delta, "-o", new)
        assert merged.returncode == 0, merged.stderr
        before = status["decisions"]["verdicts"]
        found = shell(new, program, *ask)
        assert (found.stdout, found.returncode) == ("done\n", 0), found.stderr
        ended(monitor, 2)
        status = json.loads(scmm("monitor", "status", "--json", "--socket", monitor.socket).stdout)
        assert status["decisions"]["verdicts"] == before

    calls = {line["call"] for line in logged(log)}
    policy = document.read(delta)
    assert {rule.name for rule in policy.syscalls} == calls
    mkdir = next(rule for rule in policy.syscalls if rule.name == "mkdir")
    assert mkdir.origin is not None and mkdir.origin.count == 1 and "mkdir" in mkdir.origin.programs[0]
    assert policy.metadata.generated_from == "scmm-monitor --learn: shell"
    assert document.read(new).filesystem == canonical(document.read(base)).filesystem


@pytest.mark.parametrize("learns", [True, False])
def test_what_a_rule_refuses_is_not_learnt(tmp_path: Path, learns: bool) -> None:
    base, delta = tmp_path / "base.scmm.yaml", tmp_path / "delta.scmm.yaml"
    base.write_text(_BASE)
    made = tmp_path / "made"

    def rules(given: dict[str, Any]) -> None:
        given["rules"] = [] if learns else [{"syscalls": ["mkdir"], "decision": "deny", "errno": "EXDEV"}]
        del given["program"]

    with monitoring(tmp_path, "--learn", str(delta), change=rules) as monitor:
        found = shell(base, f"mkdir {made}; echo done", "--mode", "ask", "--listener", monitor.socket)
        assert found.stdout == "done\n"
        assert ("cross-device" in found.stderr) != learns and made.exists() == learns
        ended(monitor, 1)
    names = {rule.name for rule in document.read(delta).syscalls if rule.action is Action.ALLOW}
    assert ("mkdir" in names) == learns and "write" in names


@pytest.mark.parametrize("default", ["allow", "ask", "deny", "program"])
def test_what_no_rule_decides_is_learnt_whatever_the_default(tmp_path: Path, default: str) -> None:
    """But a program that is to decide does."""
    decide = tmp_path / "decide"
    decide.write_text(
        "#!/usr/bin/python3 -IS\nimport json, sys\nfor line in sys.stdin:\n"
        "    print(json.dumps({'id': json.loads(line)['id'], 'decision': 'deny', 'errno': 'EXDEV'}), flush=True)\n"
    )
    decide.chmod(0o755)
    delta = tmp_path / "delta.scmm.yaml"

    def rules(given: dict[str, Any]) -> None:
        given["default"] = default
        given["rules"] = [{"syscalls": ["getuid"], "decision": "deny"}]
        given["program"] = [str(decide)]

    with monitoring(tmp_path, "--learn", str(delta), change=rules) as monitor, monitor.asks() as asked:
        assert asked.ask(f"call {DENIED}") == str(EPERM)
        decided = asked.ask(f"call {ALLOWED}")
        assert decided == (str(-errno.EXDEV) if default == "program" else str(asked.pid))
    assert [rule.name for rule in document.read(delta).syscalls] == ([] if default == "program" else ["getppid"])
