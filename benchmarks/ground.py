"""Where containers are started for measuring: private podman and hooks, one static program, nothing else running."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rig import images, namespace
from rig.cgroup import cgroup_path
from rig.leftovers import end_processes, processes_naming
from rig.mounts import private_dir
from rig.podman import Podman
from rig.process import DeadlineError, RigError, missing_programs, run, wait_until
from scmm_oci.capture import file as capture_file
from scmm_oci.recorder import installation, settings
from scmm_oci.recorder.installation import Layout
from scmm_oci.recorder.settings import Settings

#: Says one word, so that it can be seen from outside when it runs.
PROGRAM = ("/bin/echo", "up")


@dataclass(frozen=True)
class Start:
    """Seconds from the start of a command: until the program's first output, and until the command has ended."""

    spoke: float
    ended: float


def timed(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Start:
    """Time a command in which PROGRAM runs. Raises RigError where it ends otherwise, or says anything else."""
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        with subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process:
            assert process.stdout is not None
            said = process.stdout.read(1)
            spoke = time.monotonic() - began
            said += process.stdout.read()
            status = process.wait()
            ended = time.monotonic() - began
        errors.seek(0)
        if status or said != b"up\n":
            words = errors.read()[-2000:].decode(errors="replace")
            raise RigError(f"{command[0]}: status {status}, said {said!r}: {words}")
    return Start(spoke, ended)


class ProductError(RigError):
    """A measured run did not produce what it is there for."""


@dataclass(frozen=True)
class Ground:
    """`base`: a private directory; `truth`: the names of the calls that PROGRAM makes, by strace."""

    base: Path
    engine: Podman
    image: str
    layout: Layout
    settings: Settings
    truth: frozenset[str]

    @property
    def starter(self) -> Path:
        return self.layout.libexec_dir / installation.STARTER

    def words(self, annotations: Mapping[str, str]) -> list[str]:
        """What `podman run` and `podman create` are told alike."""
        pairs = [word for key, value in annotations.items() for word in ("--annotation", f"{key}={value}")]
        parent = f"--cgroup-parent={cgroup_path(self.engine.cgroup)}"
        return ["--pull=never", "--network=none", parent, *pairs]

    def start(self, hooks_dir: Path, annotations: Mapping[str, str]) -> Start:
        """Time `podman run --rm IMAGE PROGRAM`; returns when what it left running has ended. Raises RigError."""
        words = [*self.words(annotations), "--rm", self.image, *PROGRAM]
        command = [*self.engine.command(), f"--hooks-dir={hooks_dir}", "run", *words]
        found = timed(command, env=self.engine.environ())
        self.settle()
        return found

    def settle(self) -> None:
        """Wait for conmon's clean-up and for tracers, so that they do not slow the next run down."""
        wait_until(
            lambda: not self._helpers(), deadline_s=15, what="helpers ended", detail=lambda: str(self._helpers())
        )

    def _helpers(self) -> list[int]:
        return [*processes_naming(self.engine.base), *processes_naming(self.base)]

    def take_capture(self, name: str) -> None:
        """Check the capture of one run, and remove it. Raises ProductError."""
        path = Path(self.settings.capture_dir) / f"{name}.scmm-cap"
        if not path.exists():
            raise ProductError(f"no capture {path.name}; the hooks' log ends with: {self.log()[-2000:] or '(nothing)'}")
        capture = capture_file.read(path)
        names = frozenset(call.name or str(call.nr) for call in capture.sessions[0].app)
        if not capture.complete or names != self.truth:
            raise ProductError(
                f"{path.name}: losses {[loss.kind for loss in capture.losses]}, "
                f"missing {sorted(self.truth - names)}, too many {sorted(names - self.truth)}"
            )
        path.unlink()

    def log(self) -> str:
        path = Path(self.settings.log_file)
        return path.read_text() if path.exists() else ""

    def empty_dir(self, name: str) -> Path:
        path = self.base / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path


def unavailable() -> str | None:
    """Why containers cannot be recorded and measured here, or None."""
    return namespace.unavailable() or images.busybox_unavailable() or missing_programs("podman", "runc", "strace")


@contextmanager
def ground() -> Iterator[Ground]:
    """Enter the private namespace, start podman, install the hook pair; take all of it away at the end."""
    reason = unavailable()
    if reason:
        raise RigError(reason)
    namespace.enter(fresh_bpffs=True)
    with ExitStack() as stack:
        base = stack.enter_context(private_dir("bench"))
        engine = stack.enter_context(Podman(runtime="runc"))
        stack.callback(_end, base)
        layout, used = _install(base)
        image = engine.import_image("busybox", images.busybox())
        yield Ground(base, engine, image, layout, used, strace(base))
        if Path(used.pin_dir).exists():
            raise ProductError(f"the recorder is still pinned in {used.pin_dir}")


def strace(scratch: Path) -> frozenset[str]:
    """The names of the calls PROGRAM makes after its execve, from outside the container and without our code."""
    program = images.rootfs(images.busybox()) / PROGRAM[0].lstrip("/")
    output = scratch / "strace"
    run(["strace", "-f", "-o", output, program, *PROGRAM[1:]], env={})
    lines = [line.split(maxsplit=1)[1] for line in output.read_text().splitlines()]
    names = [line.partition("(")[0] for line in lines if not line.startswith(("+++", "---"))]
    return frozenset(names[1:] if names[:1] == ["execve"] else names)


def busy_share(seconds: float) -> float:
    """The share of this machine's CPU time that others use while this process sleeps."""

    def read() -> tuple[int, int]:
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]  # idle, iowait: proc_stat(5)

    before = read()
    time.sleep(seconds)
    after = read()
    total = after[0] - before[0]
    return 1 - (after[1] - before[1]) / total if total else 0.0


def _install(base: Path) -> tuple[Layout, Settings]:
    values = {
        "capture_dir": str(base / "captures"),
        "run_dir": str(base / "run"),
        "log_file": str(base / "log" / "hook.log"),
        "pin_dir": f"/sys/fs/bpf/scmm-bench-{os.getpid()}",
    }
    config = base / "config.yaml"
    config.write_text(json.dumps(values))  # JSON is YAML
    layout = Layout(hooks_dir=base / "hooks.d", libexec_dir=base / "libexec", config=config)
    installation.install(layout)
    return layout, settings.check(values)


def _end(base: Path) -> None:
    try:
        wait_until(lambda: not processes_naming(base), deadline_s=2, what="tracers ended")
    except DeadlineError:
        end_processes(processes_naming(base), naming=base)
