"""`scmm logs` on this kernel: what a program under a policy was refused, and that the line it tells allows it."""

from __future__ import annotations

import json
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, need

SCMM = Path(sys.executable).parent / "scmm"
LAUNCHER = ROOT / "scmm_oci" / "data" / f"scmm-enforce.{platform.machine()}"
PATIENCE_S = 90

POLICY = """\
version: "1.0"
settings:
  default_action: allow
  log_denials: true
syscalls:
  - {name: getpgid, action: deny, errno: EPROTO}
  - {name: getsid, action: log}
  - {name: sync, action: trap}
"""

# One starts the other, and that one makes a call for each word that it reads.
WORKER = """
import os, signal, sys
signal.signal(signal.SIGSYS, lambda *_: None)
for word in sys.stdin:
    try:
        getattr(os, word.strip())(*([0] if word.startswith("get") else []))
        print(word.strip(), "done", flush=True)
    except OSError as error:
        print(word.strip(), error.strerror, flush=True)
"""
STARTER = f"import subprocess, sys; print(flush=True); subprocess.run([sys.executable, '-c', {WORKER!r}])"


def unavailable() -> str | None:
    if platform.machine() != "x86_64":
        return "the policy is for x86_64"
    if os.geteuid() != 0:
        return "the kernel's log is for root"
    if not LAUNCHER.is_file():
        return f"{LAUNCHER.name} is not built"
    try:
        with open("/dev/kmsg", "rb"):
            pass
    except OSError as error:
        return f"/dev/kmsg: {error.strerror}"
    return None


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    need("KERNEL", unavailable())
    path = tmp_path / "p.scmm.yaml"
    path.write_text(POLICY)
    return path


def compiled(policy: Path) -> Path:
    output = policy.with_suffix(".scmm-pol")
    subprocess.run([SCMM, "compile", "-i", policy, "-o", output], check=True, capture_output=True, timeout=60)
    return output


class Program:
    """The program under the policy: asks its child to make calls."""

    def __init__(self, policy: Path) -> None:
        words = [LAUNCHER, "-p", compiled(policy), "--", sys.executable, "-c", STARTER]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"\n"  # it is the program now
        self.pid = self._process.pid

    def call(self, word: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{word}\n".encode())
        return self._process.stdout.readline().decode().removeprefix(f"{word} ").strip()

    def end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()


@pytest.fixture
def program(policy: Path) -> Iterator[Program]:
    one = Program(policy)
    yield one
    one.end()


def test_what_a_program_was_refused_and_the_line_that_allows_it(policy: Path) -> None:
    ours, bystander = Program(policy), Program(policy)
    words = [SCMM, "logs", "--pid", str(ours.pid), "--follow", "--json", "-p", policy]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as logs:
        assert logs.stdout is not None and logs.stderr is not None
        found: dict[str, Any] = {}
        pending = b""
        deadline = time.monotonic() + PATIENCE_S
        # From when on it listens, nobody says: calls are made until it has told of each.
        while {"getpgid", "getsid", "sync"} - set(found) and time.monotonic() < deadline:
            assert ours.call("getpgid") == "Protocol error" and bystander.call("getpgid") == "Protocol error"
            assert ours.call("getsid") == "done"
            ours.call("sync")
            while select.select([logs.stdout], [], [], 0.5)[0]:
                chunk = os.read(logs.stdout.fileno(), 1 << 16)
                assert chunk, logs.stderr.read()
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    one = json.loads(line)
                    found[one["name"]] = one
        ours.end()
        # It ends with the program.
        rest, _ = logs.communicate(timeout=PATIENCE_S)
        bystander.end()
    summary = json.loads((pending + rest).splitlines()[-1])["summary"]
    assert {name: one["action"] for name, one in found.items()} == {"getpgid": "ERRNO", "getsid": "LOG", "sync": "TRAP"}
    assert found["getsid"]["passed"] and not found["getpgid"]["passed"]
    pids = {one["process"]["pid"] for one in found.values()}
    assert len(pids) == 1 and not pids & {ours.pid, bystander.pid}  # the child's
    assert found["sync"]["process"]["comm"].startswith("python") and found["sync"]["process"]["uid"] == 0
    assert {one["name"] for one in summary["denials"]} == set(found)
    assert {pid for one in summary["denials"] for pid in one["pids"]} == pids
    assert summary["others"] >= 1  # the bystander's, which are not told
    (advice,) = [one for one in summary["advice"] if one["what"] == "getpgid"]
    (line,) = advice["lines"]
    assert line["section"] == "syscalls" and "answers EPROTO" in advice["notes"][0]
    number = int(re.match(r"line (\d+)", line["instead_of"][0])[1])  # type: ignore[index]
    text = policy.read_text().splitlines()
    assert text[number - 1].strip() == "- {name: getpgid, action: deny, errno: EPROTO}"
    text[number - 1] = "  " + line["text"]
    policy.write_text("\n".join(text) + "\n")
    again = Program(policy)
    assert again.call("getpgid") == "done"
    again.end()


def test_the_kernels_log_has_it_afterwards(program: Program, policy: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    names: set[str] = set()
    # The kernel prints few of many records; on a busy machine ours may be none of them at first.
    while "getsid" not in names and time.monotonic() < deadline:
        program.call("getsid")
        done = subprocess.run(
            [SCMM, "logs", "--pid", str(program.pid), "--json"], check=True, capture_output=True, timeout=60
        )
        names = {one["name"] for one in json.loads(done.stdout)["denials"]}
    assert names == {"getsid"}
    # Of another process, there is nothing.
    other = subprocess.run(
        [SCMM, "logs", "--pid", str(os.getpid()), "--comm", "no-such-name", "--json"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert json.loads(other.stdout)["denials"] == []


def test_who_writes_to_the_kernels_log_is_not_believed(policy: Path) -> None:
    name = f"forged-{os.getpid()}"
    body = (
        f'audit({int(time.time())}.000:1): auid=0 uid=0 gid=0 ses=0 pid={os.getpid()} comm="{name}" exe="/x" '
        "sig=31 arch=c000003e syscall=39 compat=0 ip=0x1 code=0x80000000"
    )
    with open("/dev/kmsg", "w") as log:
        log.write(f"<5>audit: type=1326 {body}\n")  # without its end, readers would wait for the rest
    printed = subprocess.run(["dmesg"], check=True, capture_output=True, timeout=60).stdout.decode(errors="replace")
    assert name in printed
    words = [SCMM, "logs", "--comm", name, "--json"]
    done = subprocess.run(words, check=True, capture_output=True, timeout=60)
    assert json.loads(done.stdout)["total"] == 0
    # What dmesg printed no longer says who wrote it: a file is believed.
    file = policy.with_suffix(".log")
    file.write_text(printed)
    done = subprocess.run([*words, "--file", file], check=True, capture_output=True, timeout=60)
    assert json.loads(done.stdout)["total"] == 1


def test_ctrl_c_ends_with_the_summary(program: Program) -> None:
    words = [SCMM, "logs", "--comm", "no-such-name", "--follow"]

    def usual() -> None:
        # Whoever runs the tests in the background may ignore it, and that is inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=usual) as logs:
        assert logs.stderr is not None
        said = b""
        while b"following" not in said:
            line = logs.stderr.readline()
            assert line, said
            said += line
        logs.send_signal(signal.SIGINT)
        out, _ = logs.communicate(timeout=PATIENCE_S)
        assert logs.returncode == 0 and b"refused or logged: none" in out


def test_without_permission_the_way_out_is_said(policy: Path) -> None:
    setpriv = shutil.which("setpriv")
    restricted = Path("/proc/sys/kernel/dmesg_restrict").read_text().strip() == "1"
    need("KERNEL", None if setpriv and restricted else "needs setpriv, and kernel.dmesg_restrict=1")
    assert setpriv is not None
    done = subprocess.run(
        [setpriv, "--bounding-set=-syslog,-sys_admin", SCMM, "logs", "--all"], capture_output=True, timeout=60
    )
    if not Path("/var/log/audit/audit.log").exists():
        assert done.returncode == 1
    assert b"cannot be read without permission" in done.stderr and b"dmesg_restrict=0" in done.stderr
    allowed = subprocess.run([SCMM, "logs", "--all", "--since", "1s"], capture_output=True, timeout=60)
    assert allowed.returncode == 0 and b"without permission" not in allowed.stderr
