"""`scmm record run` and `scmm try` as a user starts them, over an engine of the rig's."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recording import Started, as_from_a_shell
from support import ROOT

from rig.docker import Dockerd
from rig.engine import Engine


@dataclass(frozen=True)
class Verbs:
    """Starts `scmm WORDS -- ENGINE run OPTIONS IMAGE COMMAND` in `directory`."""

    engine: Engine
    image: str
    directory: Path

    @property
    def name(self) -> str:
        return "docker" if isinstance(self.engine, Dockerd) else "podman"

    def words(self, verb: Sequence[str], command: Sequence[str], options: Sequence[str] = ()) -> list[str]:
        ran = ["run", "--pull=never", "--network=none", *self.engine.placement(), *options, self.image, *command]
        return [sys.executable, "-m", "scmm_oci.cli.main", *verb, "--", *self.engine.command(), *ran]

    def start(self, verb: Sequence[str], command: Sequence[str], options: Sequence[str] = (), **more: Any) -> Started:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return Started(
            self.words(verb, command, options),
            env={**self.engine.environ(), "PYTHONPATH": str(ROOT)},
            cwd=self.directory,
            preexec_fn=as_from_a_shell,
            text=True,
            **{**pipes, **more},
        )

    def run(
        self, verb: Sequence[str], command: Sequence[str], options: Sequence[str] = (), **more: Any
    ) -> subprocess.CompletedProcess[str]:
        given = more.pop("input", None)
        if given is not None:
            more["stdin"] = subprocess.PIPE
        with self.start(verb, command, options, **more) as process:
            out, err = process.communicate(given, timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def typed(
        self, verb: Sequence[str], command: Sequence[str], options: Sequence[str], *, after: str, keys: bytes
    ) -> tuple[int, str]:
        """In a terminal: exit status, and all that it shows. Each time `after` comes, these keys are typed."""
        pid, terminal = pty.fork()
        if not pid:
            as_from_a_shell()
            os.chdir(self.directory)
            words = self.words(verb, command, options)
            os.execve(words[0], words, {**self.engine.environ(), "PYTHONPATH": str(ROOT), "TERM": "dumb"})
        shown, answered = b"", 0
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                some = os.read(terminal, 4096)
            except OSError:
                break  # all have closed it: EIO
            shown += some
            if shown.count(after.encode()) > answered:
                answered += 1
                os.write(terminal, keys)
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode(errors="replace")

    def containers(self) -> list[str]:
        return self.engine("ps", "--all", "--quiet").stdout.split()
