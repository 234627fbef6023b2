"""The containers whose start is compared: one class for each way to start them, with the product each must leave."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from benchmarks import incumbent
from benchmarks.ground import Ground, ProductError, Start


class Case(ABC):
    """One way to start the container. `start` measures once; what the run must leave is checked and removed."""

    key: str
    title: str

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    def start(self, number: int) -> Start:
        """Time one start. Raises ProductError, or RigError when the container does not run."""
        self.before()
        start = self.ground.start(self.hooks_dir(), self.annotations(number))
        self.take_product(number)
        return start

    def before(self) -> None:  # noqa: B027 (most need nothing)
        """What has to be so, outside the measured time."""

    @abstractmethod
    def hooks_dir(self) -> Path:
        """Where podman looks for hooks."""

    def annotations(self, number: int) -> Mapping[str, str]:
        return {}

    def take_product(self, number: int) -> None:
        left = [path.name for path in Path(self.ground.settings.capture_dir).glob("*")]
        if left:
            raise ProductError(f"{self.title}: nothing was to be recorded, but there is {left}")


class Nothing(Case):
    key, title = "nothing", "no hooks"

    def hooks_dir(self) -> Path:
        return self.ground.empty_dir("no-hooks")


class Recorded(Case):
    key, title = "recorded", "recorded by our hook pair"

    def hooks_dir(self) -> Path:
        return self.ground.layout.hooks_dir

    def annotations(self, number: int) -> Mapping[str, str]:
        return {"scmm.record": "true", "scmm.name": self._name(number)}

    def take_product(self, number: int) -> None:
        self.ground.take_capture(self._name(number))

    def _name(self, number: int) -> str:
        return f"{self.key}-{number}"


class First(Recorded):
    key, title = "first", "… first recording of the boot"

    def before(self) -> None:
        # The run directory is in /run on a real host: empty after a boot.
        shutil.rmtree(self.ground.settings.run_dir, ignore_errors=True)


class NotAsked(Case):
    key, title = "not_asked", "our hooks there, not asked for"

    def hooks_dir(self) -> Path:
        return self.ground.layout.hooks_dir


class Incumbent(Case):
    """`names`: what each run recorded."""

    key, title = "incumbent", "oci-seccomp-bpf-hook (incumbent)"

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        incumbent.prepare()
        incumbent.write_descriptor(self.hooks_dir())
        self.names: list[frozenset[str]] = []

    def hooks_dir(self) -> Path:
        return self.ground.empty_dir("incumbent-hooks")

    def annotations(self, number: int) -> Mapping[str, str]:
        return {incumbent.ANNOTATION: f"of:{self._profile(number)}"}

    def take_product(self, number: int) -> None:
        self.names.append(incumbent.take_names(self._profile(number)))

    def _profile(self, number: int) -> Path:
        return self.ground.empty_dir("profiles") / f"{number}.json"
