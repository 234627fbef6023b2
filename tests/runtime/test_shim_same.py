"""What engines do with containers is the same over scmm-runc as over runc or crun: output, exit codes, what is told.

`make soak` has all of it; other runs have what is most of it, over the shim with everything asked for at once.
"""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from scenarios import LOOP, SCENARIOS, SHORT, Way
from shims import Shims, make_shims
from support import Hooks, need
from test_shim_bundles import POLICY

from rig import images, namespace
from rig.docker import Dockerd
from rig.engine import Engine
from rig.mounts import private_dir
from rig.podman import Podman
from rig.process import CommandError
from scmm_oci.recorder.recover import recover
from scmm_oci.tables.landlock import FS_RIGHTS

SOAK = bool(os.environ.get("SCMM_SOAK"))
#: Holds files, and refuses nothing: whatever the container does differently comes of how it is enforced.
OPEN = {
    "version": "1.0",
    "settings": {"default_action": "allow"},
    "filesystem": {"rules": [{"path": "/", "access": sorted(FS_RIGHTS)}]},
}
#: What is asked for, by way. PLAIN is without the shim.
PLAIN = "plain"
ASKED: dict[str, dict[str, str]] = {
    PLAIN: {},
    "nothing": {},
    "recorded": {"record": "true"},
    "enforced": {"policy": "open"},
    "both": {"record": "true", "policy": "open"},
    "held": {"policy": "files"},
}
WAYS = [PLAIN, "nothing", "recorded", "enforced", "both"] if SOAK else [PLAIN, "both"]
NAMES = sorted(SCENARIOS if SOAK else SHORT)
ENGINES = ["docker", "podman", *(["podman-crun"] if SOAK else [])]
#: What only an engine's description tells.
RUNTIME = {"docker": ".HostConfig.Runtime", "podman": ".OCIRuntime"}
ASKING = {"docker": ".Config.Env[]=", "podman": ".Config.Annotations.scmm."}


@dataclass(frozen=True)
class Ground:
    """An engine, by way."""

    kind: str
    ways: Mapping[str, Way]

    def compare(self, name: str) -> dict[str, object]:
        """What comes of a scenario, by way."""
        ways = [each for each in self.ways if each in WAYS]
        with ThreadPoolExecutor(len(ways)) as pool:
            return dict(zip(ways, pool.map(SCENARIOS[name], (self.ways[each] for each in ways)), strict=True))


@pytest.fixture(scope="module")
def shims(inside: namespace.Entered, shared_hooks: Hooks) -> Iterator[Shims]:
    need("KERNEL", images.busybox_unavailable())
    with private_dir("shim") as base:
        made = make_shims(base, hooks=shared_hooks)
        made.add("open", OPEN)
        made.add("files", POLICY)
        yield made
        assert made.kept() == []
        assert made.log() == ""


@contextmanager
def opened(name: str, shims: Shims, hooks: Hooks) -> Iterator[Ground]:
    """docker, podman or podman-crun."""
    kind, _, below = name.partition("-")
    below = below or "runc"
    engine: Engine
    if kind == "podman":
        need("CRUN" if below == "crun" else "PODMAN", Podman.available("crun" if below == "crun" else "runc"))
        engine = Podman(runtime=below, runtimes={"scmm-runc": shims.runc, "scmm-crun": shims.crun})
    else:
        need("DOCKER", Dockerd.available())
        engine = Dockerd(runtimes={"scmm-runc": shims.runc})
    with engine, private_dir("shared") as shared:
        image = engine.import_image("busybox", images.busybox())
        yield Ground(kind, {way: _way(engine, image, shared, way, below) for way in ASKED})
    if below == "crun":
        # crun 1.8.1 calls no poststop hook of a container that it could not create.
        recover(hooks.settings, now=time.time())


@pytest.fixture(scope="module", params=ENGINES)
def ground(request: pytest.FixtureRequest, shims: Shims, shared_hooks: Hooks) -> Iterator[Ground]:
    with opened(request.param, shims, shared_hooks) as made:
        yield made


def _way(engine: Engine, image: str, shared: Path, way: str, below: str) -> Way:
    over = below if way == PLAIN else f"scmm-{below}"
    if isinstance(engine, Podman):
        asked = [f"--annotation=scmm.{name}={value}" for name, value in ASKED[way].items()]
        return Way(engine.over(over), image, tuple(asked), shared)
    asked = [f"--env=SCMM_{name.upper()}={value}" for name, value in ASKED[way].items()]
    return Way(engine, image, (f"--runtime={over}", *asked), shared)


def assert_same(expected: object, found: object, what: str) -> None:
    left, right = (json.dumps(each, indent=1).splitlines() for each in (expected, found))
    assert left == right, f"{what}:\n" + "\n".join(difflib.unified_diff(left, right, "runtime", "shim", "", "", 1, ""))


def assert_same_by_all_ways(ground: Ground, name: str) -> None:
    outcomes = ground.compare(name)
    plain = outcomes.pop(PLAIN)
    for way, outcome in outcomes.items():
        assert_same(plain, outcome, way)


@pytest.mark.parametrize("name", [each for each in NAMES if each != "inspected"])
def test_same_as_the_runtime_itself(ground: Ground, name: str) -> None:
    assert_same_by_all_ways(ground, name)


def test_same_as_crun(shims: Shims, shared_hooks: Hooks) -> None:
    """What of it is not the shim's but crun's: the long run has all."""
    with opened("podman-crun", shims, shared_hooks) as ground:
        assert_same_by_all_ways(ground, "run-combined")


def test_a_policy_that_refuses_makes_a_difference(ground: Ground) -> None:
    """The control: were nothing enforced, or nothing compared, all would be the same."""
    plain, held = (SCENARIOS["run-user"](ground.ways[each]) for each in (PLAIN, "held"))
    with pytest.raises(AssertionError, match="can't open '/etc/passwd': Permission denied"):
        assert_same(plain, held, "held")


def test_what_an_engine_tells_of_a_container(ground: Ground) -> None:
    """The runtime's name and what was asked for, and nothing else of ours."""
    outcomes = ground.compare("inspected")
    plain = outcomes.pop(PLAIN)
    assert isinstance(plain, list)
    empty = ".Config.Env=null"  # docker's word for none
    for way, outcome in outcomes.items():
        assert isinstance(outcome, list)
        more, less = set(outcome) - set(plain), set(plain) - set(outcome) - {empty}
        assert [line.partition("=")[0] for line in less] == [RUNTIME[ground.kind]]
        assert [line for line in more if line.startswith(RUNTIME[ground.kind]) and '"scmm-' in line]
        told = [line for line in more if not line.startswith(RUNTIME[ground.kind])]
        assert len(told) == len(ASKED[way]) and all(line.startswith(ASKING[ground.kind]) for line in told)


#: Words of `run` or `exec`; exit codes over the runtime and over the shim; what is told.
UNABLE = {
    "/nosuch": (127, 127, "there is no program"),
    "/etc/passwd": (126, 126, "cannot execute"),
    "/etc": (126, 126, "cannot execute"),
    "/shared/script": (1, 127, "cannot execute"),
}


@pytest.mark.parametrize("word", UNABLE if SOAK else ["/nosuch"])
def test_a_program_that_cannot_be_executed(ground: Ground, word: str) -> None:
    """What is told comes from the launcher, in a container that has begun, instead of from the runtime."""
    before, code, told = UNABLE[word]
    script = ground.ways[PLAIN].shared / "script"
    script.write_text("#!/nosuch\n")
    script.chmod(0o755)
    volume = f"-v={script.parent}:/shared"

    def attempt(way: Way) -> tuple[bool, list[tuple[int, list[str], list[str]]]]:
        """Whether a container in the background begins, and what `run` and `exec` say."""
        with way.started("sh", "-c", LOOP, options=[volume]) as name:
            found = [way.run(word, options=[volume]), way.exec(name, word)]
        try:
            way.engine.rm(way.engine.run_detached(way.image, word, options=[*way.options, volume]))
        except CommandError:
            return False, found
        return True, found

    with ThreadPoolExecutor() as pool:
        plain, nothing, held = pool.map(attempt, (ground.ways[way] for way in (PLAIN, "nothing", "enforced")))
    assert nothing == plain
    # dockerd 20.10 says 126 of every exec that the runtime could not begin.
    assert [each[0] for each in plain[1]] == [before, 126 if (ground.kind, before) == ("docker", 127) else before]
    assert (plain[0], held[0]) == (before == 1, True)
    for each in held[1]:
        assert each[:2] == (code, []) and len(each[2]) == 1
        assert each[2][0].startswith(f"scmm-enforce: {told} {word}")


def test_what_is_to_be_seen_from_inside(ground: Ground) -> None:
    """Two mounts, no-new-privileges and a filter more; docs/shim.md has it."""
    script = (
        "grep -E 'NoNewPrivs|Seccomp_filters' /proc/self/status;"
        "awk '$2 ~ /scmm/ { print $2, substr($4, 1, 15) }' /proc/mounts; ls -l /dev/.scmm-policy 2>&1 | cut -c1-10"
    )
    plain, held = (ground.ways[way].run("sh", "-c", script) for way in ("plain", "enforced"))
    before = dict(line.split(":\t") for line in plain[1][:2])
    assert before["NoNewPrivs"] == "0"
    assert plain[1][2:] == ["ls: /dev/.sc"[:10]]
    assert held[::2] == (0, [])
    assert held[1] == [
        "NoNewPrivs:\t1",
        f"Seccomp_filters:\t{int(before['Seccomp_filters']) + 1}",
        "/dev/.scmm-enforce ro,nosuid,nodev",
        "/dev/.scmm-policy ro,nosuid,nodev",
        "-r--r--r--",
    ]
