"""Containers whose calls are asked about, over scmm-runc: who answers, what they inherit, and what does not start."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import shim_ground
from monitored import Monitor, monitoring
from shim_traced import Traced
from shims import Shims, Streams, make_shims, said_on_terminal
from small_monitor import WORDS, Asked
from support import need
from test_launcher_admitted import MKDIR, tight
from test_shim_bundles import asks, bundle

from rig import images, namespace
from rig.containerd import Containerd
from rig.docker import Dockerd
from rig.engine import Engine
from rig.mounts import private_dir
from rig.podman import Podman
from rig.process import Completed, missing_programs, wait_until
from rig.runc import available

SOAK = bool(os.environ.get("SCMM_SOAK"))
CALLS = ["mkdir", "mkdirat"]
OPEN = {"default_action": "allow", "bad_arch_action": "allow"}
NOTIFYING = {"version": "1.0", "settings": OPEN, "syscalls": [{"names": CALLS, "action": "notify"}]}
REFUSING = {"version": "1.0", "settings": OPEN, "syscalls": [{"names": CALLS, "action": "deny", "errno": "EACCES"}]}
#: Tells what it may, and whether it has a socket, or more than its caller handed on.
PROBE = "mkdir /tmp/x 2>&1 && echo made; ls -l /proc/self/fd | grep -c socket: ; ls /proc/$$/fd"
ASKED, MADE = f"mkdir: can't create directory '/tmp/x': {WORDS}", "made"
REFUSED = "mkdir: can't create directory '/tmp/x': Permission denied"


@pytest.fixture(scope="module")
def shims(inside: namespace.Entered) -> Iterator[Shims]:
    need("KERNEL", available("runc") or images.busybox_unavailable())
    with private_dir("shim") as base:
        made = make_shims(base)
        made.add("asking", NOTIFYING)
        made.add("refusing", REFUSING)
        yield made
        assert made.kept() == []


@pytest.fixture
def socket_path(shims: Shims) -> Path:
    return shims.monitor


@pytest.fixture(params=["runc", "crun"])
def shim(request: pytest.FixtureRequest, shims: Shims) -> Path:
    if request.param == "crun":
        need("CRUN", available("crun"))
    path: Path = getattr(shims, request.param)
    return path


def lines(text: str) -> list[str]:
    return [each for each in text.splitlines() if each]


@pytest.mark.parametrize(("policy", "mode"), [("asking", "standard"), ("asking", "seccomp"), ("refusing", "ask")])
def test_the_monitor_answers(shim: Path, socket_path: Path, policy: str, mode: str) -> None:
    for lets, first in ((False, ASKED), (True, MADE)):
        with Asked(socket_path, lets=lets) as monitor, bundle(shim, asks(policy=policy, mode=mode), text=PROBE) as one:
            done = one.run(check=False)
            assert lines(done.stdout)[:1] == [first], done.stderr
            (told,) = monitor.states
            state = told["state"]
            assert (told["metadata"], state["id"], state["bundle"]) == (policy, one.id, str(one.directory))
            assert (state["status"], state["annotations"]) == (
                "creating",
                {"scmm.policy": policy, "scmm.mode": mode},
            )
            assert monitor.calls == 1
    # The control: nobody is asked in the other mode, nor by another policy.
    other = ("refusing", "standard") if mode != "ask" else ("refusing", "seccomp")
    with Asked(socket_path) as monitor, bundle(shim, asks(policy=other[0], mode=other[1]), text=PROBE) as one:
        assert lines(one.run(check=False).stdout)[:1] == [REFUSED]
    assert monitor.states == []


def test_the_connection_is_not_the_programs(shim: Path, socket_path: Path) -> None:
    outcomes = []
    for policy in ("refusing", "asking"):
        with Asked(socket_path), bundle(shim, asks(policy=policy), text=PROBE) as one:
            outcomes.append(lines(one.run(check=False).stdout)[1:])
    assert outcomes[0] == outcomes[1] and outcomes[1][0] == "0"


def test_exec_in_both_forms(shim: Path, shims: Shims, socket_path: Path, tmp_path: Path) -> None:
    with Asked(socket_path) as monitor, bundle(shim, asks(policy="asking"), text="exec sleep 1000") as one:
        one.create()
        assert monitor.states == []  # it is the launcher that hands over
        one.start()
        wait_until(lambda: len(monitor.states) == 1, deadline_s=30, what="the first listener")
        words = one.exec("sh", "-c", PROBE)
        process = {**one.config["process"], "args": ["sh", "-c", PROBE]}
        file = tmp_path / "process.json"
        file.write_text(json.dumps(process))
        named = one.exec(options=["--process", str(file)])
        assert lines(words.stdout) == lines(named.stdout)
        assert lines(words.stdout)[:2] == [ASKED, "0"]
        assert [each["state"]["status"] for each in monitor.states] == ["creating", "running", "running"]
        assert {each["state"]["id"] for each in monitor.states} == {one.id}
        assert monitor.calls == 2
        (key,) = shims.kept()
        plan = json.loads((shims.bundles / key / "plan.json").read_text())
        assert plan["asks"] == monitor.states[0]["state"]  # docs/formats.md


def test_what_the_caller_hands_on_keeps_its_place(shim: Path, socket_path: Path) -> None:
    """Also where runtimes differ on LISTEN_FDS, and where the caller has a descriptor at our number."""
    text = f"cat <&3; cat <&4 2>/dev/null || echo no 4; cat <&5 2>/dev/null || echo no 5; {PROBE}"
    owns: list[tuple[list[str], dict[str, str]]] = [
        (["--preserve-fds=2"], {}),
        (["--preserve-fds", "1"], {"LISTEN_FDS": "1", "LISTEN_PID": "own"}),
        (["--preserve-fds=1"], {"LISTEN_FDS": "1", "LISTEN_PID": "1"}),
        ([], {"LISTEN_FDS": "2", "LISTEN_PID": "own"}),
    ]
    for options, environment in owns if SOAK else owns[1:3]:
        outcomes = []
        for policy in ("refusing", "asking"):
            with (
                Asked(socket_path),
                bundle(shim, asks(policy=policy), text=text) as one,
                Streams("three", "four", "five") as streams,
            ):
                one.save()
                command = [str(shim), f"--root={one.base / 'state'}", "run", f"--bundle={one.directory}"]
                code, output = streams.run([*command, *options, one.id], environment)
                assert code == 0
                outcomes.append(output.replace(REFUSED, ASKED))
        assert outcomes[0] == outcomes[1]
        assert outcomes[1].startswith("three") and f"no 5\n{ASKED}\n0\n" in outcomes[1]
        with (
            Asked(socket_path),
            bundle(shim, asks(policy="asking"), text="exec sleep 1000") as one,
            Streams("three", "four", "five") as streams,
        ):
            one.create()
            one.start()
            command = [str(shim), f"--root={one.base / 'state'}", "exec", *options, one.id, "sh", "-c", text]
            code, output = streams.run(command, environment)
            assert (code, ASKED in output, "five" in output) == (0, True, False)


def test_a_descriptor_that_the_caller_names_is_not_taken(shim: Path, shims: Shims, socket_path: Path) -> None:
    for place, code in ((3, 1), (4, 0)):
        with Asked(socket_path), bundle(shim, asks(policy="asking"), text="true") as one, Streams("", "") as streams:
            one.save()
            command = [str(shim), f"--root={one.base / 'state'}", f"--log=/dev/fd/{place}", "run"]
            assert streams.run([*command, f"--bundle={one.directory}", one.id])[0] == code


def test_without_a_monitor_nothing_starts(shim: Path, shims: Shims, socket_path: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = {"global_options": ["--log", str(log), "--log-format", "json"]}
    assert not socket_path.exists()
    stale = socket.socket(socket.AF_UNIX)
    for how in ("missing", "left behind"):
        if how == "left behind":
            stale.bind(str(socket_path))
            stale.close()
        with bundle(shim, asks(policy="asking"), text="echo started", **options) as one:
            done = one.run(check=False)
            assert (done.returncode, done.stdout) == (1, "")
            told = f"the policy asking asks about calls, and nobody listens at {socket_path}: start scmm-monitor"
            assert told in done.stderr and told in json.loads(log.read_text().splitlines()[-1])["msg"]
    # The control: what asks for nothing needs none.
    with bundle(shim, asks(policy="refusing"), text="echo started", **options) as one:
        assert one.run(check=False).stdout == "started\n"
    socket_path.unlink()
    assert shims.kept() == []


def test_without_a_monitor_nobody_comes_in(shim: Path, socket_path: Path) -> None:
    """What runs goes on, and its calls have no answer but ENOSYS."""
    text = "until mkdir /tmp/x 2>&1 | grep implemented; do sleep 0.1; done; exec sleep 1000"
    with bundle(shim, asks(policy="asking"), text=text) as one:
        with Asked(socket_path) as monitor:
            one.create()
            one.start()
            wait_until(lambda: monitor.calls, deadline_s=30, what="a call")
            assert one.exec("echo", "in").stdout == "in\n"
        done = one.exec("echo", "in", check=False)
        assert (done.returncode != 0, done.stdout) == (True, "")
        assert f"nobody listens at {socket_path}: start scmm-monitor" in done.stderr
        wait_until(lambda: "implemented" in one.log.read_text(), deadline_s=30, what="ENOSYS")
        with Asked(socket_path):  # a new one is asked by new processes
            assert lines(one.exec("sh", "-c", PROBE).stdout)[:1] == [ASKED]


@pytest.mark.parametrize(
    ("greets", "code", "why"),
    [(False, 1, "has hung up: its log says why"), (True, 125, "it has hung up")],
    ids=["at once", "after its greeting"],
)
def test_a_monitor_that_hangs_up_gets_no_program(
    shim: Path, socket_path: Path, greets: bool, code: int, why: str
) -> None:
    with (
        Asked(socket_path, greets=greets, hangs_up=True),
        bundle(shim, asks(policy="asking"), text="echo started") as one,
    ):
        done = one.run(check=False)
    assert (done.returncode, done.stdout) == (code, "") and why in done.stderr


def test_who_is_not_root_decides_nothing(shim: Path, socket_path: Path) -> None:
    """The control is root's: test_the_monitor_answers."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(socket_path))
    # SO_PEERCRED is of who calls listen(2).
    pid = os.fork()
    if not pid:
        os.setresuid(65534, 65534, 65534)
        listening.listen()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    try:
        with bundle(shim, asks(policy="asking"), text="echo started") as one:
            done = one.run(check=False)
        assert (done.returncode, done.stdout) == (1, "") and "user 65534 listens at" in done.stderr
    finally:
        listening.close()
        socket_path.unlink()


def other_listener(config: dict[str, Any]) -> None:
    rules = [{"names": ["chroot"], "action": "SCMP_ACT_NOTIFY"}]
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "listenerPath": "/nothing"}


def test_a_profile_with_a_listener_of_its_own(shim: Path, socket_path: Path) -> None:
    with Asked(socket_path) as monitor, bundle(shim, other_listener, asks(policy="asking"), text="true") as one:
        done = one.run(check=False)
        assert done.returncode == 1 and "a process can have one listener alone" in done.stderr
        assert monitor.states == []
        # The control: the runtime gets further where nobody else is asked.
        one.config["annotations"]["scmm.policy"] = "refusing"
        assert "/nothing" in one.run(check=False).stderr


def test_under_a_profile_made_for_the_program(shim: Path, shims: Shims, socket_path: Path) -> None:
    """What the hand-over takes is added to it, and nothing of that where nobody is asked."""

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["seccomp"] = tight(shim.name.removeprefix("scmm-"))
        config["process"]["args"] = list(MKDIR)

    for policy, code in (("asking", WORDS), ("refusing", "Permission denied")):
        before = len(shims.log())
        with Asked(socket_path), bundle(shim, asks(policy=policy)) as one:
            edit(one.config)
            done = one.run(check=False)
            assert (done.returncode, done.stderr.rpartition(": ")[2].strip()) == (1, code)
        assert ("sendmsg" in shims.log()[before:]) is (policy == "asking")


def test_a_terminal(shim: Path, socket_path: Path) -> None:
    def terminal(config: dict[str, Any]) -> None:
        config["process"]["terminal"] = True

    text = "test -t 0 && echo on $(tty); mkdir /tmp/x; exec sleep 1000"
    with Asked(socket_path), bundle(shim, terminal, asks(policy="asking"), text=text) as one:
        told = said_on_terminal(one, lambda told: told.count(b"\n") == 2)
    assert told == ["on /dev/pts/0", ASKED, ""]


@pytest.mark.parametrize("shape", ["user", "own users"])
def test_other_users(shim: Path, socket_path: Path, shape: str) -> None:
    """The connection is root's, whoever the program becomes."""

    def edit(config: dict[str, Any]) -> None:
        if shape == "user":
            config["process"]["user"] = {"uid": 65534, "gid": 65534}
            return
        config["linux"]["namespaces"].append({"type": "user"})
        for key in ("uidMappings", "gidMappings"):
            config["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    with Asked(socket_path), bundle(shim, edit, asks(policy="asking"), text=PROBE) as one:
        for path in (one.base, one.directory):
            path.chmod(0o711)
        done = one.run(check=False)
        assert lines(done.stdout)[:2] == [ASKED, "0"], done.stderr


def test_each_call_for_the_connection_has_to_succeed(inside: namespace.Entered) -> None:
    """Or nothing starts, and nothing is left; the control is the run in which all do."""
    need("KERNEL", missing_programs("strace"))
    with private_dir("calls") as base:
        ground = shim_ground.Ground(base)
        ground.shims.add("asking", NOTIFYING)
        ground.ask(policy="asking")
        with Asked(ground.shims.monitor):
            traced = Traced(ground, f"--root={ground.root}", "create", f"--bundle={ground.bundle}", "one")
            every = ("socket", "setsockopt", "setsockopt", "connect", "getsockopt", "recvfrom", "dup2")
            steps = [step for step in traced.steps() if step.name in every]
            assert [step.name for step in steps] == list(every)
            made = ground.given()
            assert made is not None and made["process"]["args"][6:9:2] == ["--guard", "3"]
            for fault in ("error=EMFILE", "signal=KILL"):
                for step in steps:
                    outcome = traced.run(step, fault)
                    assert outcome.hit and outcome.code and outcome.config is None, (step, outcome)
                    assert outcome.said.startswith("scmm-runc: ") is fault.startswith("error"), (step, outcome)
                    assert shim_ground.swept(ground) == []


@dataclass(frozen=True)
class Ground:
    """An engine that knows the shim, and an image."""

    engine: Engine
    image: str

    def options(self, policy: str, mode: str = "standard") -> list[str]:
        if isinstance(self.engine, Podman):
            return [f"--annotation=scmm.policy={policy}", f"--annotation=scmm.mode={mode}"]
        return ["--runtime=scmm", f"--env=SCMM_POLICY={policy}", f"--env=SCMM_MODE={mode}"]

    def run(self, *words: str, options: Sequence[str]) -> Completed:
        return self.engine.run(self.image, *words, options=options, check=False)


@pytest.fixture(scope="module", params=["podman over runc", "podman over crun", "docker"])
def ground(request: pytest.FixtureRequest, shims: Shims) -> Iterator[Ground]:
    engine: Engine
    if request.param == "docker":
        need("DOCKER", Dockerd.available())
        engine = Dockerd(runtimes={"scmm": shims.runc})
    else:
        below = "crun" if "crun" in request.param else "runc"
        need("CRUN" if below == "crun" else "PODMAN", Podman.available(below))
        engine = Podman(runtime=f"scmm-{below}", runtimes={f"scmm-{below}": getattr(shims, below)})
    with engine:
        yield Ground(engine, engine.import_image("busybox", images.busybox()))


@pytest.mark.parametrize(("policy", "mode"), [("asking", "standard"), *([("refusing", "ask")] if SOAK else [])])
def test_engines(ground: Ground, socket_path: Path, policy: str, mode: str) -> None:
    """run, with a terminal too; exec in each form; another start of the same container; and nobody to ask."""
    engine, options = ground.engine, ground.options(policy, mode)
    with Asked(socket_path) as monitor:
        done = ground.run("sh", "-c", PROBE, options=options)
        assert lines(done.stdout)[:2] == [ASKED, "0"], done.stderr
        on_terminal = ground.run("sh", "-c", f"tty; {PROBE}", options=[*options, "-t"])
        assert on_terminal.stdout.replace("\r", "").splitlines()[:2] == ["/dev/pts/0", ASKED]
        name = engine.run_detached(ground.image, "sh", "-c", f"{PROBE}; exec sleep 1000", options=options)
        wait_until(lambda: ASKED in engine.logs(name), deadline_s=30, what="an answer")
        for more in ([], ["-t"], ["-u", "65534"]):
            inside = engine.exec(name, "sh", "-c", PROBE, options=more, check=False).stdout.replace("\r", "")
            assert lines(inside)[:1] == [ASKED]
        engine("restart", "--time=0", name)
        wait_until(lambda: engine.logs(name).count(ASKED) == 2, deadline_s=30, what="another answer")
        told = [each["state"] for each in monitor.states]
        assert [each["status"] for each in told] == ["creating"] * 3 + ["running"] * 3 + ["creating"]
        assert {each["id"] for each in told[2:]} == {engine.inspect(name)["Id"]}
        assert len({each["id"] for each in told}) == 3
    why = f"nobody listens at {socket_path}: start scmm-monitor"
    lost = engine.exec(name, "echo", "in", check=False)
    assert (lost.returncode != 0, "in\n" in lost.stdout, why in lost.stdout + lost.stderr) == (True, False, True)
    engine.rm(name)
    none = ground.run("echo", "started", options=options)
    assert (none.returncode != 0, none.stdout, why in none.stderr) == (True, "", True)


def test_engines_hand_on_what_they_are_given(ground: Ground, socket_path: Path) -> None:
    """podman's own --preserve-fds come first."""
    if not isinstance(ground.engine, Podman):
        return
    text = f"cat <&3; cat <&4; {PROBE}"
    outcomes = []
    for policy in ("refusing", "asking"):
        with Asked(socket_path), Streams("three", "four") as streams:
            words = ["run", "--rm", "--preserve-fds=2", *ground.options(policy), ground.image, "sh", "-c", text]
            code, output = streams.run([*ground.engine.command(), *words], ground.engine.environ())
            outcomes.append((code, lines(output.replace(REFUSED, ASKED))))
            name = ground.engine.run_detached(ground.image, "sleep", "1000", options=ground.options(policy))
            words = ["exec", "--preserve-fds=2", name, "sh", "-c", text]
            code, output = streams.run([*ground.engine.command(), *words], ground.engine.environ())
            outcomes.append((code, lines(output.replace(REFUSED, ASKED))))
            ground.engine.rm(name)
    assert outcomes[:2] == outcomes[2:]
    assert [(code, output[0]) for code, output in outcomes] == [(0, f"threefour{ASKED}")] * 4


@pytest.fixture(scope="module")
def monitored(inside: namespace.Entered) -> Iterator[tuple[Shims, Monitor]]:
    """The shim, and scmm-monitor, which refuses all directories but one."""
    need("KERNEL", available("runc") or images.busybox_unavailable())
    rules = [
        {"container": "asking", "syscalls": CALLS, "path": "/tmp/yes", "decision": "allow"},
        {"syscalls": CALLS, "decision": "deny", "errno": "EDQUOT"},
    ]
    with private_dir("monitor") as base:
        own = make_shims(base / "shims", monitor=str(base / "run/notify.sock"))
        own.add("asking", NOTIFYING)
        own.add("refusing", REFUSING)
        with monitoring(base, change=lambda given: given.update(rules=rules)) as monitor:
            yield own, monitor
        assert own.kept() == []


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_scmm_monitor_decides(monitored: tuple[Shims, Monitor], runtime: str) -> None:
    need("CRUN" if runtime == "crun" else "KERNEL", available(runtime))
    own, monitor = monitored
    text = "mkdir /tmp/x 2>&1; mkdir /tmp/yes 2>&1 && ls -d /tmp/*"
    with bundle(getattr(own, runtime), asks(policy="asking"), text=f"{text}; exec sleep 1000") as one:
        one.create()
        one.start()
        expected = [ASKED, "/tmp/yes"]
        wait_until(
            lambda: lines(one.log.read_text()) == expected, deadline_s=60, what="answers", detail=one.log.read_text
        )
        again = one.exec("sh", "-c", f"rmdir /tmp/yes; {text}", check=False)
        assert lines(again.stdout) == expected, (again.stderr, monitor.told)
    # Under another name nothing is allowed.
    with bundle(getattr(own, runtime), asks(policy="refusing", mode="ask"), text=text) as one:
        assert lines(one.run(check=False).stdout) == [ASKED, ASKED.replace("/x", "/yes")]


def test_containerd(shims: Shims, socket_path: Path) -> None:
    """Under its own profile, too."""
    need("DOCKER", Containerd.available())
    options = ["--seccomp", "--annotation=scmm.policy=asking"]
    with Containerd() as below, Asked(socket_path) as monitor:
        engine = below.over(shims.runc)
        image = engine.import_image("busybox", images.busybox())
        done = engine.run(image, "sh", "-c", PROBE, options=options, check=False)
        assert lines(done.stdout)[:2] == [ASKED, "0"], done.stderr
        name = engine.run_detached(image, "sh", "-c", "exec sleep 1000", options=options)
        assert lines(engine.exec(name, "sh", "-c", PROBE).stdout)[:1] == [ASKED]
        engine.rm(name)
        assert [each["state"]["status"] for each in monitor.states] == ["creating", "creating", "running"]
