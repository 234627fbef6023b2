"""A monitor that would ask, and has nobody: calls are denied, and why is told, but not for each of them."""

from __future__ import annotations

from pathlib import Path

from monitored import EPERM, UNDECIDED, monitoring

TOLD = "was denied: there is nobody to ask (bring the monitor to the foreground of its terminal, or give it --rules or"


def test_who_has_nobody_to_ask_says_so_once(tmp_path: Path) -> None:
    with monitoring(tmp_path, change=lambda rules: rules.update(default="ask", rules=[])) as monitor:
        with monitor.asks("lonely") as asked:
            assert [asked.ask(f"call {UNDECIDED}") for _ in range(3)] == [str(EPERM)] * 3
        monitor.wait_told("lonely: ended, calls: 3 deny")
        assert monitor.told.count(f"lonely: getsid {TOLD}") == monitor.told.count("nobody to ask") == 1


def test_what_is_denied_by_default_is_not_told(tmp_path: Path) -> None:
    with monitoring(tmp_path, change=lambda rules: rules.update(default="deny", rules=[])) as monitor:
        with monitor.asks("denied") as asked:
            assert asked.ask(f"call {UNDECIDED}") == str(EPERM)
        monitor.wait_told("denied: ended, calls: 1 deny")
        assert TOLD not in monitor.told
