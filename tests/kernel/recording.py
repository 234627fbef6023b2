"""Run `scmm record` as a user would: with settings of the test's own, and signals as a login shell leaves them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import ROOT, Hooks

from rig.process import wait_until
from scmm_oci.recorder.ledger import Ledger
from scmm_oci.recorder.owned import Recording

_SENT = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP)


def as_from_a_shell() -> None:
    """Signals as they are for what a user starts; CI may have ignored or blocked some."""
    for number in (*_SENT, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class Started(subprocess.Popen[str]):
    """`scmm record` that runs; a test that fails does not wait for it for ever."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None and self.poll() is None:
            self.terminate()
            try:
                self.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        super().__exit__(kind, error, trace)


@dataclass(frozen=True)
class Recorder:
    """`scmm record` whose captures go to `directory`."""

    hooks: Hooks
    directory: Path

    def words(self, *words: str) -> list[str]:
        """The command line; PYTHONPATH of `environ` has to hold."""
        config = ["--config", str(self.hooks.layout.config)]
        return [sys.executable, "-m", "scmm_oci.cli.main", "record", *config, *words]

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_")}
        return {**kept, "PYTHONPATH": str(ROOT), **more}

    def start(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        before: Callable[[], object] = as_from_a_shell,
        **options: Any,
    ) -> Started:
        """Begin; stdin is empty, the others are pipes."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return Started(
            self.words(*words),
            env=self.environ(**env or {}),
            cwd=self.directory,
            preexec_fn=before,
            text=True,
            **{**pipes, **options},
        )

    def run(self, *words: str, input: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        if input is not None:
            options["stdin"] = subprocess.PIPE
        with self.start(*words, **options) as process:
            out, err = process.communicate(input, timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def of(self, *command: str, options: Sequence[str] = (), **more: Any) -> dict[str, Any]:
        """The capture of a command that ends well."""
        done = self.run(*options, "--", *command, **more)
        assert done.returncode == 0, done.stderr
        return self.capture()

    def path(self, name: str = "capture") -> Path:
        return self.directory / f"{name}.scmm-cap"

    def capture(self, name: str = "capture") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path(name).read_bytes())
        return found

    def entry(self, name: str = "capture") -> dict[str, Any]:
        """The ledger's notes on a recording, as soon as it has begun: until then, its lock is held."""

        def look() -> dict[str, Any] | None:
            with Ledger(self.hooks.settings.run_dir) as ledger:
                return next((each for each in ledger.entries() if each.get("name") == name), None)

        return wait_until(look, deadline_s=20, what=f"{name} is being recorded")  # type: ignore[return-value]

    def await_calls(self, name: str = "capture", more_than: int = 0) -> int:
        """Wait until more calls than that are in a recording; how many."""
        running = Recording(self.hooks.settings, self.entry(name), None)

        def look() -> int:
            calls = running.glance().calls
            return calls if calls > more_than else 0

        return wait_until(look, deadline_s=20, what=f"calls of {name}")


def losses(capture: Mapping[str, Any]) -> dict[str, int]:
    return {each["kind"]: each["count"] for each in capture["losses"]}


def notes(capture: Mapping[str, Any]) -> dict[str, int]:
    return {each["kind"]: each["count"] for each in capture["notes"]}


def called(capture: Mapping[str, Any], phase: str = "app") -> dict[str, int]:
    """Name → how often, over all sessions."""
    found: dict[str, int] = {}
    for session in capture["sessions"]:
        for call in session["phases"][phase]:
            found[call["name"]] = found.get(call["name"], 0) + call["entered"]
    return found


def files(capture: Mapping[str, Any], operation: str = "open") -> dict[str, str]:
    """Path → state of what was used by an operation that succeeded."""
    return {row["path"]: row["state"] for row in capture["files"] if row["operation"] == operation and row["succeeded"]}


def state_of(pid: int) -> str:
    """A process's state letter: proc_pid_stat(5); X for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"
