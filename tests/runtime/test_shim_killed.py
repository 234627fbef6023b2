"""scmm-runc over real runtimes and below engines: it, the runtime it has become, or a hook is killed on the way.

Afterwards a container is enforced or is not there, and nothing is left of it when the next one has been made.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from shims import Shims, make_shims
from support import Hooks, need
from test_shim_bundles import FREE, HELD, POLICY, PROBE, asks, bundle

from rig import images, namespace
from rig.docker import Dockerd
from rig.engine import Engine
from rig.mounts import private_dir
from rig.podman import Podman
from rig.process import missing_programs, wait_until
from rig.runc import Bundle, available
from scmm_oci.enforcer.places import Places

SOAK = bool(os.environ.get("SCMM_SOAK"))
pytestmark = pytest.mark.timeout(3600 if SOAK else 300)
#: Reads which call of which verb kills, and becomes the shim. strace is no parent of it (-D): the engine waits for what
#: it has started, and containers that run are not waited for.
WRAPPER = """#!/bin/sh
read -r verb call number < FAULT
case " $* " in
*" $verb "*)
	inject=$call:signal=KILL:when=$number
	exec strace -D --follow-forks --quiet=all --output=/dev/null "--trace=$call" "--inject=$inject" SHIM "$@"
	;;
esac
exec SHIM "$@"
"""
#: Calls of the runtime and of what it starts; the shim has renamed four files before it becomes the runtime.
IN_RUNC = (
    *("renameat 5", "mkdirat 2", "pivot_root 1", "clone 3", "seccomp 1", "clone 1", "mount 6"),
    *("execve 4", "mount 1", "openat 300", "write 12", "prctl 10", "setsid 1", "unlinkat 5", "close_range 1"),
)
IN_CRUN = (
    *("openat 100", "pivot_root 1", "clone3 1", "mount 1", "setsid 1", "mkdir 3", "clone 1", "move_mount 1"),
    *("openat 130", "write 12", "prctl 3", "unlinkat 5", "sendmsg 1", "execve 4"),
)


class Faulty:
    """Shims whose starters are killed as `fail` says."""

    def __init__(self, shims: Shims) -> None:
        self.shims = shims
        self._fault = shims.base / "fault"
        self.starters: dict[str, Path] = {}
        for name, shim in (("runc", shims.runc), ("crun", shims.crun)):
            path = self.starters[name] = shims.base / f"faulty-{name}"
            path.write_text(WRAPPER.replace("FAULT", str(self._fault)).replace("SHIM", str(shim)))
            path.chmod(0o755)
        self.fail("none none 1")

    def fail(self, fault: str) -> None:
        """fault: verb, system call and its number."""
        self._fault.write_text(fault + "\n")


@pytest.fixture(scope="module")
def faulty(inside: namespace.Entered) -> Iterator[Faulty]:
    need("KERNEL", available("runc") or images.busybox_unavailable() or missing_programs("strace"))
    with private_dir("killed") as base:
        shims = make_shims(base)
        shims.add("files", POLICY)
        yield Faulty(shims)


def next_one(faulty: Faulty) -> None:
    """Make another container, and look for what is left of the one before."""
    with bundle(faulty.shims.runc, asks(policy="files"), text=PROBE) as one:
        assert one.run().stdout.split() == ["refused", "unset"]
    assert faulty.shims.kept() == []


def mounts() -> list[str]:
    return sorted(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())


def is_there(one: Bundle) -> bool:
    return one("state", one.id, check=False).returncode == 0 and one.state()["status"] in ("created", "running")


@pytest.mark.parametrize("name", ["runc", "crun"])
def test_a_runtime_killed_while_it_creates(faulty: Faulty, name: str) -> None:
    if name == "crun":
        need("CRUN", available("crun"))
    faults = IN_RUNC if name == "runc" else IN_CRUN
    killed = 0
    for fault in faults if SOAK else faults[:3]:
        before = mounts()
        with bundle(faulty.starters[name], asks(policy="files"), text="exec sleep 1000") as one:
            root, inside = one.directory / "rootfs", mounts()
            files = sorted(os.listdir(root))
            faulty.fail(f"create {fault}")
            done = one.create(check=False)
            faulty.fail("none none 1")
            killed += done.returncode != 0
            # Where it was the container's own process, there is one that has stopped.
            assert done.returncode or one("state", one.id, check=False).returncode == 0, (fault, done)
            if is_there(one) and one.start(check=False).returncode == 0:
                said = one.exec("sh", "-c", PROBE, check=False)
                assert said.stdout.split() in (["refused", "unset"], []), (fault, said)
            one.delete(force=True, check=False)
            assert not is_there(one), fault
            assert sorted(os.listdir(root)) == files, fault
            assert mounts() == inside, fault
        next_one(faulty)
        assert mounts() == before, fault
    assert killed >= 2
    # The control: without a fault, and with one that does not come, it is there and enforced.
    faulty.fail("create renameat 1000")
    with bundle(faulty.starters[name], asks(policy="files"), text="exec sleep 1000") as one:
        one.create()
        one.start()
        assert one.exec("sh", "-c", PROBE).stdout.split() == ["refused", "unset"]
        faulty.fail("none none 1")


def test_our_directory_is_removed_while_the_container_runs(faulty: Faulty) -> None:
    with bundle(faulty.shims.runc, asks(policy="files"), text="exec sleep 1000") as one:
        one.create()
        faulty.shims.store.remove("files")  # a copy is what holds
        one.start()
        assert one.exec("sh", "-c", PROBE).stdout.split() == ["refused", "unset"]
        shutil.rmtree(faulty.shims.bundles)
        done = one.exec("sh", "-c", PROBE, check=False)
        assert (done.returncode, done.stdout) == (1, "") and "which is gone" in done.stderr
        assert one.state()["status"] == "running"
        one.kill()
        one.wait_stopped()
        one.delete()
        assert one("list", "-q").stdout == ""
        assert one.run(check=False).returncode == 1  # its policy is gone
    faulty.shims.add("files", POLICY)
    next_one(faulty)


def script_of(base: Path, name: str, text: str) -> Path:
    path = base / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize("stage", ["prestart", "poststop"])
def test_a_recorders_hook_that_is_killed(inside: namespace.Entered, stage: str) -> None:
    with private_dir("killed") as base:
        hook = script_of(base, "hook", f'cat > /dev/null; [ "$1" != {stage} ] || kill -9 $$')
        shims = make_shims(base / "shims", hook=str(hook))
        shims.add("files", POLICY)
        with bundle(shims.runc, asks(record="true", policy="files")) as one:
            done = one.run(check=False)
            if stage == "prestart":
                # runtime-spec, "Prestart": a hook that fails stops the container, and whoever was killed has failed.
                assert (done.returncode, done.stdout) == (1, "") and "signal: killed" in done.stderr
            else:
                assert (done.returncode, done.stdout.splitlines()) == (7, HELD)
            assert one("list", "-q").stdout == ""
        # runc calls no poststop hooks of a container that has not been made; what is left goes with the next one.
        Places(str(shims.bundles)).sweep()
        assert shims.kept() == []


@pytest.mark.parametrize("wanted", ["true", "required"])
def test_a_recorder_that_is_killed_in_its_hook(inside: namespace.Entered, shared_hooks: Hooks, wanted: str) -> None:
    """As where memory runs out: what the hook's shell has started is killed, and not the shell."""
    with private_dir("killed") as base:
        python = script_of(base, "python", "kill -9 $$")
        starter = base / "scmm-hook"
        lines = shared_hooks.starter.read_text().splitlines()
        place = next(number for number, line in enumerate(lines) if line.startswith("python="))
        lines[place] = f"python={python}"
        starter.write_text("\n".join(lines) + "\n")
        starter.chmod(0o755)
        shims = make_shims(base / "shims", hook=str(starter))
        with bundle(shims.runc, asks(record=wanted)) as one:
            done = one.run(check=False)
            expected = (7, FREE) if wanted == "true" else (1, [])
            assert (done.returncode, done.stdout.splitlines()) == expected, done
        Places(str(shims.bundles)).sweep()
        assert shims.kept() == []


@pytest.fixture(scope="module", params=["podman", "docker"])
def engine(request: pytest.FixtureRequest, faulty: Faulty) -> Iterator[tuple[Engine, str, list[str]]]:
    """An engine over the shim, an image, and options that ask for the policy."""
    made: Engine
    runtimes = {"scmm": faulty.starters["runc"]}
    if request.param == "podman":
        need("PODMAN", Podman.available("runc"))
        made, options = Podman(runtime="scmm", runtimes=runtimes), ["--annotation=scmm.policy=files"]
    else:
        need("DOCKER", Dockerd.available())
        made, options = Dockerd(runtimes=runtimes), ["--runtime=scmm", "--env=SCMM_POLICY=files"]
    with made:
        yield made, made.import_image("busybox", images.busybox()), options


FAULTS = ("renameat 4", "mkdirat 1", "renameat 1", "renameat 2", "renameat 3", "execve 1", "execve 2")


@pytest.mark.parametrize("fault", FAULTS if SOAK else FAULTS[:1])
def test_the_shim_is_killed_below_an_engine(engine: tuple[Engine, str, list[str]], faulty: Faulty, fault: str) -> None:
    made, image, options = engine
    faulty.fail(f"create {fault}")
    done = made.run(image, "echo", "started", options=options, name="killed", check=False)
    faulty.fail("none none 1")
    assert done.returncode != 0 and done.stdout == ""
    made("rm", "--force", "killed", check=False)
    again = made.run(image, "sh", "-c", PROBE.partition(";")[0], options=options, name="killed")
    assert again.stdout.split() == ["refused"]
    assert faulty.shims.kept() == []


def test_an_exec_is_killed_below_an_engine(engine: tuple[Engine, str, list[str]], faulty: Faulty) -> None:
    made, image, options = engine
    name = made.run_detached(image, "sleep", "1000", options=options)
    probe = ["sh", "-c", PROBE.partition(";")[0]]
    for fault in ("renameat 1", *(("openat 60", "execve 1", "execve 2") if SOAK else ())):
        faulty.fail(f"exec {fault}")
        done = made.exec(name, *probe, check=False)
        assert done.returncode != 0 and not {"read", "refused"} & {*done.stdout.split()}, fault
    faulty.fail("none none 1")
    assert made.exec(name, *probe).stdout.split() == ["refused"]
    (key,) = faulty.shims.kept()
    assert len([each for each in os.listdir(faulty.shims.bundles / key) if "exec-" in each]) <= 1
    made.rm(name)
    wait_until(lambda: faulty.shims.kept() == [], deadline_s=30, what="our hook")
