"""Record a payload in a cgroup of its own through the installed hooks, as a runtime would call them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support import Hooks

from rig.cgroup import child_cgroup
from rig.process import wait_until

CONFIG = {"process": {"args": ["payload"], "user": {"uid": 0, "gid": 0}, "noNewPrivileges": True}, "linux": {}}


class Trial:
    """A process that waits at a gate in its cgroup while the prestart hook runs, as runc's init does.

    Use as a context manager; `release()` lets it go, `finish()` runs poststop and returns the capture.
    """

    def __init__(
        self,
        hooks: Hooks,
        payload: Path,
        *words: str,
        name: str,
        record: str = "true",
        cgroup: Path | None = None,
        gate: bool = True,
        gates: int = 1,
        prefix: Sequence[str] = (),
        config: Mapping[str, object] | None = None,
    ) -> None:
        self.config = {**CONFIG, **(config or {})}
        self.gates, self.prefix = gates if gate else 0, prefix
        self.hooks, self.payload, self.words, self.name, self.record = hooks, payload, words, name, record
        self.stack = ExitStack()
        self._cgroup = cgroup
        self.started: subprocess.CompletedProcess[str] | None = None

    def __enter__(self) -> Self:
        self.cgroup = self._cgroup or self.stack.enter_context(child_cgroup(self.name, empty_s=1.0))
        self.bundle = self.hooks.layout.config.parent / f"bundle-{self.name}"
        self.bundle.mkdir(mode=0o700, exist_ok=True)
        (self.bundle / "config.json").write_text(json.dumps(self.config))
        gates = ("gate", str(self.payload)) * self.gates
        self.process = self.spawn(*gates, *self.words, prefix=self.prefix)
        if self.prefix:
            self._await_sleep()
        self.started = self.hook("prestart")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.stack.close()

    def spawn(self, *words: str, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start the payload with `words` and put it into the cgroup before it executes anything.

        prefix: a command that executes it, such as nsenter.
        """

        def join() -> None:
            (self.cgroup / "cgroup.procs").write_text("0")

        return subprocess.Popen(
            [*prefix, str(self.payload), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=join
        )

    def state(self, **changes: object) -> bytes:
        """The container state a runtime would write."""
        return json.dumps(
            {
                "ociVersion": "1.0.2",
                "id": self.name,
                "pid": self.process.pid,
                "status": "creating",
                "bundle": str(self.bundle),
                "annotations": {"scmm.record": self.record, "scmm.name": self.name},
                **changes,
            }
        ).encode()

    def hook(self, stage: str, data: bytes | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one hook with an empty environment, as runtimes do."""
        done = subprocess.run(
            [self.hooks.starter, stage],
            input=self.state() if data is None else data,
            env=options.pop("env", {}),
            capture_output=True,
            timeout=30,
            check=False,
            **options,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def pass_gate(self) -> None:
        """Let the process through the first of two gates, and wait until it stands at the second."""
        assert self.process.stdin is not None
        before = Path(f"/proc/{self.process.pid}/cmdline").read_bytes()
        self.process.stdin.write(b"x")
        self.process.stdin.flush()

        self._await_sleep(other_than=before)

    def _await_sleep(self, *, other_than: bytes = b"") -> None:
        """Wait until the process sleeps in the payload, at a gate, with another command line than before."""

        def stands() -> bool:
            process = Path(f"/proc/{self.process.pid}")
            asleep = process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "S"
            words = process.joinpath("cmdline").read_bytes()
            return asleep and words.startswith(bytes(self.payload)) and words != other_than

        wait_until(stands, deadline_s=10, what="the process stands at the gate")

    def release(self, *, expect: int = 0) -> bytes:
        """Let the payload run to its end; what it printed."""
        output, _ = self.process.communicate(b"x", timeout=1200 if os.environ.get("SCMM_SOAK") else 120)
        assert self.process.returncode == expect
        return output

    def finish(self) -> dict[str, Any]:
        """Run poststop; the capture."""
        done = self.hook("poststop")
        assert done.returncode == 0, done.stderr
        return self.hooks.capture(self.name)


def calls(capture: dict[str, Any], phase: str = "app", *, session: int = 0, arch: str = "x86_64") -> dict[str, Any]:
    """Name (or number) → call of one phase of one session."""
    found = capture["sessions"][session]["phases"][phase]
    return {call["name"] or call["nr"]: call for call in found if call["arch"] == arch}
