"""Programs that load filters of their own under a monitor: seen, refused, made to believe in one, or let."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import enforce
import pytest
from monitored import DEADLINE_S, Monitor, monitoring

from rig.process import run, wait_until

# Loads a filter that refuses getsid with EDOM, by seccomp(2) or prctl(2), then makes that call: what both came to.
_PROGRAM = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
NR = {'x86_64': (317, 124), 'aarch64': (277, 156)}[os.uname().machine]
text = struct.pack('=' + 'HBBI' * 4, 0x20, 0, 0, 0, 0x15, 0, 1, NR[1], 6, 0, 0, 0x50021, 6, 0, 0, 0x7fff0000)
held = ctypes.create_string_buffer(text, len(text))
head = struct.pack('=HxxxxxxQ', 4, ctypes.addressof(held))
if sys.argv[1] == 'seccomp':
    loaded = libc.syscall(NR[0], 1, 0, ctypes.c_char_p(head))
elif sys.argv[1] == 'listener':
    loaded = libc.syscall(NR[0], 1, 8, ctypes.c_char_p(head))
else:
    loaded = libc.prctl(22, 2, ctypes.c_char_p(head), 0, 0)
why = ctypes.get_errno() if loaded < 0 else 0
refused = ctypes.get_errno() if libc.syscall(NR[1], 0) < 0 else 0
print(loaded, why, refused, open('/proc/self/status').read().split('Seccomp_filters:')[1].split()[0])
"""
_POLICY = """\
version: "1.0"
metadata: {name: filters}
settings: {default_action: allow}
syscalls:
  - {names: [seccomp], action: notify}
  - name: prctl
    action: notify
    constraints: [{arg: "0", type: integer, allowed: [PR_SET_SECCOMP]}]
"""
EPERM, EINVAL, EBUSY, EDOM = 1, 22, 16, 33


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    place = tmp_path_factory.mktemp("filters")

    def change(rules: dict[str, Any]) -> None:
        rules["rules"] = [
            {"container": name, "syscalls": ["seccomp", "prctl"], **decision}
            for name, decision in {
                "refused": {"decision": "deny", "errno": "EINVAL"},
                "believed": {"decision": "return", "value": 0},
                "let": {"decision": "allow"},
            }.items()
        ]

    with monitoring(place, "--log", str(place / "log"), change=change) as one:
        (place / "policy.scmm.yaml").write_text(_POLICY)
        yield one


def asks(monitor: Monitor, name: str, how: str) -> tuple[int, ...]:
    """(what loading returned, its errno, the errno of getsid, how many filters it has) of a program of that name."""
    words = [sys.executable, "-m", "scmm_oci.cli.main", "enforce", "-p", monitor.place / "policy.scmm.yaml"]
    words += ["--listener", monitor.socket, "--listener-metadata", name, "-q", "--"]
    done = run([*words, sys.executable, "-I", "-S", "-c", _PROGRAM, how], timeout=DEADLINE_S)
    return tuple(int(word) for word in done.stdout.split())


def words_of(monitor: Monitor, name: str) -> list[str]:
    """What the log has of a program's calls, once it has any."""

    def found() -> list[str]:
        lines = [json.loads(line) for line in (monitor.place / "log").read_text().splitlines()]
        return [line["words"] for line in lines if line["target"]["name"] == name]

    return wait_until(found, deadline_s=DEADLINE_S, what=f"a line of {name} in the log")


@pytest.fixture(scope="module")
def without() -> int:
    """How many filters there are around us."""
    enforce.needed()
    return int(Path("/proc/self/status").read_text().split("Seccomp_filters:")[1].split()[0])


@pytest.mark.parametrize("how", ["seccomp", "prctl"])
@pytest.mark.parametrize(
    ("name", "returned", "refused", "more"),
    [
        ("refused", (-1, EINVAL), 0, 1),
        ("believed", (0, 0), 0, 1),
        ("let", (0, 0), EDOM, 2),
        ("nobody-knows", (-1, EPERM), 0, 1),
    ],
)
def test_a_filter_of_its_own(
    monitor: Monitor, without: int, how: str, name: str, returned: tuple[int, int], refused: int, more: int
) -> None:
    assert asks(monitor, name, how) == (*returned, refused, without + more)


def test_what_is_asked_for_is_in_the_log_in_words(monitor: Monitor) -> None:
    for how, begins in (
        ("seccomp", "seccomp(SECCOMP_SET_MODE_FILTER, 0, 0x"),
        ("prctl", "prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0x"),
    ):
        asks(monitor, f"told-{how}", how)
        (words,) = words_of(monitor, f"told-{how}")
        assert words.startswith(begins)


def test_a_listener_of_its_own_is_refused_by_the_kernel_while_ours_is_there(monitor: Monitor, without: int) -> None:
    assert asks(monitor, "let", "listener") == (-1, EBUSY, 0, without + 1)
