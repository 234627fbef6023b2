"""podman and Docker as hosts of benchmarks.shim, and all hosts by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.ground import PROGRAM, ProductError, Start, timed
from benchmarks.shim_hosts import DENIED, IDLE, Host, Installed, Raw
from benchmarks.shim_report import ENFORCED, HOOKED, PLAIN, PRECREATE, RECORDED, UNASKED
from rig import images
from rig.docker import Dockerd
from rig.leftovers import processes_naming
from rig.podman import Podman
from rig.process import run, wait_until


class InPodman(Host):
    """podman over runc, and over scmm-runc."""

    name = "podman"
    ways = (PLAIN, UNASKED, ENFORCED, PRECREATE, HOOKED, RECORDED)

    def _open(self) -> None:
        self.engine = self._stack.enter_context(Podman(runtime="runc", runtimes={"scmm": self.installed.shims["runc"]}))
        self.image = self.engine.import_image("busybox", images.busybox())
        self._none = self.installed.base / "no-hooks"
        self._none.mkdir(exist_ok=True)

    def _environ(self) -> dict[str, str]:
        return self.engine.environ()

    def _command(self, way: str) -> list[str]:
        self.engine.runtime = "runc" if way in (PLAIN, PRECREATE, HOOKED) else "scmm"
        found = {HOOKED: self.installed.hooks_dir, PRECREATE: self.installed.enforcing_dir}
        hooks = found.get(way, self._none)
        return [*self.engine.command(), f"--hooks-dir={hooks}"]

    def _options(self, way: str, name: str) -> list[str]:
        wishes = self._annotations(way, name).items()
        return [*self.engine.run_words("none", None, [f"--annotation={key}={value}" for key, value in wishes])]

    def _check(self, way: str) -> None:
        """What runs first, too: the precreate hook holds nothing else."""
        super()._check(way)
        words = ["run", *self._options(way, f"podman-{way}-check"), "--rm", self.image, *DENIED]
        done = run([*self._command(way), *words], env=self._environ(), check=False)
        if (done.returncode != 0) != (way in (ENFORCED, PRECREATE)):
            raise ProductError(f"podman, {way}: {' '.join(DENIED)} ended with {done.returncode}: {done.stderr}")

    def _run_idle(self, way: str) -> None:
        options = [*self._options(way, f"podman-{way}-idle"), "--detach", f"--name=idle-{way}"]
        run([*self._command(way), "run", *options, self.image, *IDLE], env=self._environ())
        self._stack.callback(self.engine.rm, f"idle-{way}")

    def _start(self, way: str, name: str) -> Start:
        words = ["run", *self._options(way, name), "--rm", self.image, *PROGRAM]
        found = timed([*self._command(way), *words], env=self._environ())
        # podman leaves clean-up to a process of its own, which must not fall into the next start.
        wait_until(lambda: not self._cleaning(), deadline_s=30, what="clean-up ended")
        return found

    def _cleaning(self) -> list[int]:
        found = []
        for pid in processes_naming(self.engine.base):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"cleanup" in words and not words[0].endswith(b"conmon"):
                found.append(pid)
        return found

    def _exec_words(self, way: str, words: Sequence[str]) -> list[str]:
        return [*self._command(way), "exec", f"idle-{way}", *words]

    def exec(self, way: str) -> Start:
        return timed(self._exec_words(way, PROGRAM), env=self._environ())


class InDocker(Host):
    """Docker, which cannot have our hooks without the shim."""

    name = "docker"
    ways = (PLAIN, UNASKED, ENFORCED, RECORDED)

    def _open(self) -> None:
        self.engine = self._stack.enter_context(Dockerd(runtimes={"scmm": self.installed.shims["runc"]}))
        self.image = self.engine.import_image("busybox", images.busybox())

    def _environ(self) -> dict[str, str]:
        return self.engine.environ()

    def _options(self, way: str, name: str) -> list[str]:
        variables = {"scmm.policy": "SCMM_POLICY", "scmm.record": "SCMM_RECORD", "scmm.name": "SCMM_NAME"}
        wishes = self._annotations(way, name).items()
        runtime = [] if way == PLAIN else ["--runtime=scmm"]
        return [*self.engine.run_words("none", None, runtime), *(f"--env={variables[key]}={to}" for key, to in wishes)]

    def _run_idle(self, way: str) -> None:
        options = [*self._options(way, f"docker-{way}-idle"), "--detach", f"--name=idle-{way}"]
        self.engine("run", *options, self.image, *IDLE)
        self._stack.callback(self.engine.rm, f"idle-{way}")

    def _start(self, way: str, name: str) -> Start:
        words = ["run", *self._options(way, name), "--rm", self.image, *PROGRAM]
        return timed([*self.engine.command(), *words], env=self._environ())

    def _exec_words(self, way: str, words: Sequence[str]) -> list[str]:
        return [*self.engine.command(), "exec", f"idle-{way}", *words]

    def exec(self, way: str) -> Start:
        return timed(self._exec_words(way, PROGRAM), env=self._environ())


def hosts(installed: Installed) -> dict[str, Host]:
    """All of them, by name."""
    made: list[Host] = [Raw(installed, "runc"), Raw(installed, "crun"), InPodman(installed), InDocker(installed)]
    return {each.name: each for each in made}
