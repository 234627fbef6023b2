"""scmm-runc on raw bundles, over runc and crun: each against the same under the runtime itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shims import Shims, Streams, make_shims, said_on_terminal
from support import Hooks, need

from rig import images, namespace
from rig.mounts import private_dir
from rig.process import find_program, run, wait_until
from rig.runc import Bundle, available

RUN = ("execute", "read_file")
#: Calls stay open: what these tests look at are files.
POLICY = {
    "version": "1.0",
    "settings": {"default_action": "allow"},
    "filesystem": {
        "rules": [
            {"path": "/bin", "access": list(RUN)},
            {"path": "/tmp", "access": ["make_reg", "write_file", "read_file", "truncate"]},
            {"path": "/dev/null", "access": ["write_file"]},
            {"path": "/proc", "access": ["read_file", "read_dir"]},
        ]
    },
    "network": {"inbound": [{"protocol": "udp"}], "outbound": [{"protocol": "udp"}]},
}
SCRIPT = """
cat /etc/passwd >/dev/null 2>&1 && echo passwd read || echo passwd refused
mkdir /made 2>/dev/null && rmdir /made && echo made in / || echo nothing in /
echo $0 $# ${SCMM_POLICY-unset} ${SCMM_MODE-unset}
exit 7
"""
FREE = ["passwd read", "made in /", "sh 0 unset unset"]
HELD = ["passwd refused", "nothing in /", "sh 0 unset unset"]
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def shims(inside: namespace.Entered) -> Iterator[Shims]:
    need("KERNEL", available("runc") or images.busybox_unavailable())
    with private_dir("shim") as base:
        made = make_shims(base)
        made.add("files", POLICY)
        yield made


@pytest.fixture(params=["runc", "crun"])
def both(request: pytest.FixtureRequest, shims: Shims) -> tuple[str, Path]:
    """A runtime, and the shim over it."""
    if request.param == "crun":
        need("CRUN", available("crun"))
    return request.param, getattr(shims, request.param)


def asks(**annotations: str) -> Edit:
    return lambda config: config.setdefault("annotations", {}).update(
        {f"scmm.{name}": value for name, value in annotations.items()}
    )


def script(*edits: Edit, text: str = SCRIPT) -> Edit:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["args"] = ["sh", "-c", text]
        for each in edits:
            each(config)

    return edit


def bundle(runtime: Path | str, *edits: Edit, text: str = SCRIPT, **more: Any) -> Bundle:
    return Bundle(images.busybox(), runtime=str(runtime), edit=script(*edits, text=text), **more)


def test_what_asks_for_nothing_is_the_runtimes_own(both: tuple[str, Path], shims: Shims) -> None:
    outcomes = []
    for runtime in both:
        with bundle(runtime) as one:
            done = one.run(check=False)
            outcomes.append((done.returncode, done.stdout.splitlines(), done.stderr))
    assert outcomes == [(7, FREE, "")] * 2
    assert shims.kept() == []


def test_a_policy_holds(both: tuple[str, Path], shims: Shims) -> None:
    plain, shim = both
    with bundle(shim, asks(policy="files")) as one:
        done = one.run(check=False)
        before = (one.directory / "config.json").read_bytes()
        assert (done.returncode, done.stdout.splitlines()) == (7, HELD), done.stderr
        assert (one.directory / "config.json").read_bytes() == before
    assert shims.kept() == []
    with bundle(plain, asks(policy="files")) as one:  # the control: it is the shim that does it
        assert one.run(check=False).stdout.splitlines() == FREE


@pytest.mark.parametrize("mode", ["standard", "seccomp", "permissive"])
def test_the_environment_chooses_and_is_stripped(shims: Shims, mode: str) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["env"] += ["SCMM_POLICY=files", f"SCMM_MODE={mode}"]

    held = HELD if mode == "standard" else FREE  # in the others, files are open
    for runtime, expected in ((shims.runc, held), ("runc", [*FREE[:2], f"sh 0 files {mode}"])):
        with bundle(runtime, edit) as one:
            assert one.run(check=False).stdout.splitlines() == expected


PROBE = "cat /etc/passwd >/dev/null 2>&1 && echo read || echo refused; echo ${SCMM_POLICY-unset}"


def test_exec_is_enforced_in_both_forms(both: tuple[str, Path], shims: Shims, tmp_path: Path) -> None:
    outcomes = {}
    for runtime in both:
        with bundle(runtime, asks(policy="files"), text="exec sleep 1000") as one:
            one.create()
            one.start()
            words = one.exec("sh", "-c", f"{PROBE}; exit 5", check=False)
            process = {**one.config["process"], "args": ["sh", "-c", PROBE]}
            process["env"] = [*process["env"], "SCMM_POLICY=other"]
            file = tmp_path / "process.json"
            file.write_text(json.dumps(process))
            before = file.read_bytes()
            named = one.exec(options=["--process", str(file)])
            assert file.read_bytes() == before
            fifo = tmp_path / f"pipe-{Path(runtime).name}"
            os.mkfifo(fifo)
            with subprocess.Popen(["cp", file, fifo]):
                assert one.exec(options=["--process", str(fifo)]).stdout == named.stdout
            missing = one.exec("nosuch", check=False)
            outcomes[runtime] = (words.returncode, words.stdout.split(), named.stdout.split(), missing.returncode != 0)
            for _ in range(2):
                one.exec(options=["--process", str(file)])
            if runtime == both[1]:
                (key,) = shims.kept()
                assert len([path for path in (shims.bundles / key).iterdir() if "exec-" in path.name]) == 1
    assert outcomes[both[0]] == (5, ["read", "unset"], ["read", "other"], True)
    assert outcomes[both[1]] == (5, ["refused", "unset"], ["refused", "unset"], True)
    assert shims.kept() == []


def test_exec_is_enforced_where_the_environment_says_where_the_state_is(both: tuple[str, Path], shims: Shims) -> None:
    """crun takes XDG_RUNTIME_DIR for root too."""
    outcomes = []
    for runtime in both:
        with bundle(runtime, asks(policy="files"), text="exec sleep 1000") as one:
            one.save()
            program = find_program(str(runtime)) or str(runtime)
            words = (
                ("create", f"--bundle={one.directory}", one.id),
                ("start", one.id),
                ("exec", one.id, "sh", "-c", PROBE),
                ("delete", "--force", one.id),
            )
            for each in words:
                environment = {**os.environ, "XDG_RUNTIME_DIR": str(one.base / "state")}
                run([program, *each], env=environment, output=one.log)
            outcomes.append(one.log.read_text().split())
    assert outcomes == [["read", "unset"], ["refused", "unset"]]
    assert shims.kept() == []


def test_a_root_that_is_not_absolute_is_none_to_enforce_below(both: tuple[str, Path], shims: Shims) -> None:
    """runc 1.1 and crun have it in the bundle, and ours would be another."""
    for root in ("", "x"):
        with bundle(both[1], asks(policy="files"), global_options=[f"--root={root}"]) as one:
            done = one.run(check=False)
            assert (done.returncode, done.stdout) == (1, "") and "is no absolute path" in done.stderr
    assert shims.kept() == []
    with bundle(both[1], global_options=["--root=x"]) as one:  # the control: nobody asks for anything
        assert one.run(check=False).stdout.splitlines() == FREE


def test_state_list_and_delete_show_the_callers_bundle(both: tuple[str, Path], shims: Shims) -> None:
    outcomes, widths = [], []
    for runtime in both:
        with bundle(runtime, asks(policy="files"), text="exec sleep 1000") as one:
            one.create()
            state = one.state()
            assert state["bundle"] == str(one.directory)
            (row,) = json.loads(one("list", "--format", "json").stdout)
            assert row["bundle"] == str(one.directory)
            table = one("list").stdout.splitlines()
            assert [str(one.directory) in line for line in table] == [False, True]
            left, right = table[1].split(str(one.directory))
            assert len(shims.kept()) == (runtime == both[1])
            one.start()
            one.kill()
            one.wait_stopped()
            assert (shims.kept() != []) == (runtime == both[1])
            one.delete()
            assert shims.kept() == []
            gone = one("state", one.id, check=False)
            outcomes.append((sorted(state), gone.returncode, one("list", "-q").stdout))
            widths.append((len(left), len(right) - len(right.lstrip())))
    assert widths[0] == widths[1]
    assert outcomes[0] == outcomes[1]


REFUSED: dict[str, tuple[Edit, str]] = {
    "no such policy": (asks(policy="fils"), "there is no policy fils"),
    "a path": (asks(policy="../files"), "a policy's name is"),
    "another digest": (asks(policy="files@sha256:" + "0" * 64), "and sha256:0000"),
    "no such mode": (asks(policy="files", mode="loose"), "scmm.mode='loose'"),
    "a mode alone": (asks(mode="strict"), "no policy is named"),
    "misspelt": (asks(polcy="files"), "did you mean scmm.policy"),
    "no annotations": (lambda config: config.update(annotations=7), "not an object of strings"),
    "required, and no hook": (asks(record="required"), "scmm hooks install"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_enforced_does_not_start(shims: Shims, how: str, tmp_path: Path) -> None:
    edit, message = REFUSED[how]
    log = tmp_path / "log"
    for verb in ("run", "create"):
        for form in ("json", "text"):
            with bundle(shims.runc, edit, global_options=["--log", str(log), "--log-format", form]) as one:
                done = one(verb, f"--bundle={one.directory}", one.id, check=False)
                assert (done.returncode, done.stdout) == (1, "")
                assert message in done.stderr and done.stderr.startswith("scmm-runc: ")
                last = log.read_text().splitlines()[-1]
                told = json.loads(last)["msg"] if form == "json" else last
                assert message in told
                assert one("list", "-q").stdout == ""
    assert shims.kept() == []
    # The control: with the same bundle and nothing asked, or what is there, it runs.
    with bundle(shims.runc, asks(policy="files")) as one:
        assert one.run(check=False).stdout.splitlines() == HELD


def test_a_key_with_a_nul_is_no_way_past(both: tuple[str, Path], shims: Shims) -> None:
    """crun's reader ends it there, and takes the first of two."""
    outcomes = []
    for runtime in both:
        with bundle(runtime, asks(policy="files"), text=PROBE) as one:
            first = {"process\0": {**one.config["process"], "args": ["sh", "-c", f"echo other; {PROBE}"]}}
            one.config = {**first, **one.config}
            done = one.run(check=False)
            outcomes.append((done.returncode, done.stdout.split()))
            assert "'process\\x00' has a NUL" in done.stderr or runtime == both[0]
    other = ["other"] if both[0] == "crun" else []
    assert outcomes == [(0, [*other, "read", "unset"]), (1, [])]


def test_recording_that_cannot_be_stops_nothing(shims: Shims) -> None:
    with bundle(shims.runc, asks(record="true")) as one:
        assert one.run(check=False).stdout.splitlines() == FREE
        assert f"container {one.id}: not recorded: " in shims.log()
    with bundle(shims.runc, asks(record="true", policy="files")) as one:
        assert one.run(check=False).stdout.splitlines() == HELD
    assert shims.kept() == []


def test_missing_and_broken_bundles_are_told_as_by_the_runtime(shims: Shims) -> None:
    for text, same in ((None, True), ("{", False)):
        outcomes = []
        for runtime in ("runc", shims.runc):
            with bundle(runtime) as one:
                config = one.directory / "config.json"
                config.unlink() if text is None else config.write_text(text)
                done = one("create", f"--bundle={one.directory}", one.id, check=False)
                outcomes.append((done.returncode, done.stdout))
                assert done.stderr
                assert ("config.json" in done.stderr) or runtime == "runc"
        assert outcomes == [(1, ""), (1, "")], same


def test_an_id_that_is_taken(shims: Shims) -> None:
    with bundle(shims.runc, asks(policy="files"), text="exec sleep 1000") as one:
        one.create()
        (key,) = shims.kept()
        before = {path.name: path.read_bytes() for path in (shims.bundles / key).iterdir()}
        done = one.create(check=False)
        assert done.returncode == 1 and "exists already" in one.log.read_text()
        assert {path.name: path.read_bytes() for path in (shims.bundles / key).iterdir()} == before
        one.start()
        assert one.exec("sh", "-c", PROBE).stdout.split() == ["refused", "unset"]


def test_a_plan_that_is_gone_lets_nobody_in(shims: Shims) -> None:
    with bundle(shims.runc, asks(policy="files"), text="exec sleep 1000") as one:
        one.create()
        one.start()
        (key,) = shims.kept()
        (shims.bundles / key / "plan.json").rename(shims.base / "plan.json")
        done = one.exec("echo", "in", check=False)
        assert (done.returncode, done.stdout) == (1, "") and "not known any more" in done.stderr
        (shims.bundles / key).rename(shims.base / "away")
        done = one.exec("echo", "in", check=False)
        assert (done.returncode, done.stdout) == (1, "") and "which is gone" in done.stderr
        (shims.base / "away").rename(shims.bundles / key)
        (shims.base / "plan.json").rename(shims.bundles / key / "plan.json")
        assert one.exec("echo", "in").stdout == "in\n"  # the control


def readonly(config: dict[str, Any]) -> None:
    config["root"]["readonly"] = True


def no_tmpfs(config: dict[str, Any]) -> None:
    config["mounts"] = [each for each in config["mounts"] if each["destination"] == "/proc"]


def user_namespace(config: dict[str, Any]) -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        config["linux"][key] = [
            {"containerID": 0, "hostID": 0, "size": 1},
            {"containerID": 1, "hostID": 100001, "size": 65535},
        ]


def mapped(config: dict[str, Any]) -> None:
    user_namespace(config)
    for key in ("uidMappings", "gidMappings"):
        config["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def nobody(config: dict[str, Any]) -> None:
    config["process"]["user"] = {"uid": 65534, "gid": 65534}


def said(one: Bundle) -> list[str]:
    """What the container's program wrote; the launcher tells on stderr what this kernel cannot hold."""
    return [line for line in one.log.read_text().splitlines() if not line.startswith("scmm-enforce:")]


@pytest.mark.parametrize("shape", [asks(), user_namespace], ids=["the host's users", "own users"])
def test_a_container_that_may_mount_writes_to_no_launcher_but_its_own(
    both: tuple[str, Path], shims: Shims, shape: Edit
) -> None:
    def admin(config: dict[str, Any]) -> None:
        for each in config["process"]["capabilities"].values():
            each.append("CAP_SYS_ADMIN")

    text = "mount -o remount,bind,rw /dev/.scmm-enforce && echo x >>/dev/.scmm-enforce && echo written"
    launcher = Path(shims.settings["launcher"])
    before = launcher.read_bytes()
    with bundle(both[1], admin, shape, asks(policy="files", mode="seccomp"), text=text) as one:
        for path in (one.base, one.directory):
            path.chmod(0o711)
        assert one.run(check=False).stdout.split() == ["written"]
    assert launcher.read_bytes() == before
    # The controls: it takes the capability, and Landlock refuses it where the policy's rules for files are held.
    for edits in ([asks(policy="files", mode="seccomp")], [admin, asks(policy="files")]):
        with bundle(both[1], *edits, text=text) as one:
            assert one.run(check=False).stdout.split() == []


@pytest.mark.parametrize("mode", [0o111, 0o555])
def test_nobody_of_the_same_user_looks_into_a_launcher_that_cannot_be_read(shims: Shims, mode: int) -> None:
    """It does not go on, as nobody takes what it says; the control is one that can be read."""
    program = shims.base / f"launcher-{mode:o}"
    shutil.copy(shims.settings["launcher"], program)
    program.chmod(mode)
    nobody = {"user": 65534, "group": 65534, "extra_groups": ()}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, bytes(1 << 16)):
            pass
    os.set_blocking(writing, True)
    with subprocess.Popen([program, "--nonsense"], stderr=writing, **nobody) as held:
        try:
            wait_until(lambda: os.readlink(f"/proc/{held.pid}/exe") == str(program), deadline_s=30, what="the launcher")
            opens = f"open('/proc/{held.pid}/mem', 'r+b', buffering=0)"
            done = subprocess.run(["python3", "-c", opens], capture_output=True, text=True, check=False, **nobody)
            assert ("PermissionError" in done.stderr, done.returncode) == ((True, 1) if mode == 0o111 else (False, 0))
        finally:
            held.kill()
            os.close(reading)
            os.close(writing)
    assert held.returncode == -signal.SIGKILL


def test_the_launcher_is_not_to_be_read(both: tuple[str, Path], shims: Shims) -> None:
    def weak(config: dict[str, Any]) -> None:
        for each in config["process"]["capabilities"].values():
            each[:] = [name for name in each if not name.startswith("CAP_DAC_")]

    text = "cat /dev/.scmm-enforce >/dev/null 2>&1 && echo read; cat /dev/.scmm-policy >/dev/null && echo policy read"
    for shape in (weak, mapped):
        with bundle(both[1], shape, asks(policy="files", mode="seccomp"), text=text) as one:
            for path in (one.base, one.directory):
                path.chmod(0o711)
            assert one.run(check=False).stdout.splitlines() == ["policy read"]


def test_a_policy_that_its_owner_has_changed_lets_nobody_in(both: tuple[str, Path], shims: Shims) -> None:
    """It belongs to who is root in the container, outside of it."""
    with bundle(both[1], mapped, asks(policy="files"), text="exec sleep 1000") as one:
        for path in (one.base, one.directory):
            path.chmod(0o711)
        one.create()
        one.start()
        assert one.exec("sh", "-c", PROBE).stdout.split() == ["refused", "unset"]
        (key,) = shims.kept()
        policy = shims.bundles / key / "policy"
        assert policy.stat().st_uid == 100000
        content = policy.read_bytes()
        for changed, code in ((content[:-1], 1), (content + b"x", 1), (content, 0)):
            policy.write_bytes(changed)
            done = one.exec("sh", "-c", PROBE, check=False)
            assert (done.returncode, done.stdout != "") == (code, code == 0)
            assert ("was changed by uid 100000" in done.stderr) is (code == 1)


@pytest.mark.parametrize("shape", [readonly, no_tmpfs, nobody, user_namespace, mapped], ids=lambda each: each.__name__)
def test_containers_of_many_shapes(both: tuple[str, Path], shims: Shims, shape: Edit) -> None:
    look = "cat /etc/passwd >/dev/null 2>&1 && echo read || echo refused; exec sleep 1000"
    outcomes = []
    for runtime in both:
        with bundle(runtime, shape, asks(policy="files"), text=look) as one:
            for path in (one.base, one.directory):
                path.chmod(0o711)
            one.create()
            one.start()
            first = wait_until(lambda one=one: said(one), deadline_s=30, what="output")
            outcomes.append(first + one.exec("sh", "-c", PROBE).stdout.split())
    assert outcomes == [["read", "read", "unset"], ["refused", "refused", "unset"]]


def test_links_where_the_launcher_goes_are_refused(shims: Shims) -> None:
    for place, shape in ((".scmm-enforce", no_tmpfs), ("dev", asks())):
        with bundle(shims.runc, shape, asks(policy="files")) as one:
            path = one.directory / "rootfs" / place
            if path.is_dir():
                shutil.rmtree(path)
            path.symlink_to("/tmp")
            done = one.run(check=False)
            assert (done.returncode, done.stdout) == (1, "")
            assert "no regular file" in done.stderr or "is a symbolic link" in done.stderr


@pytest.mark.parametrize("target", ["/dev", "/tmp"])
def test_a_volume_that_links_lead_over_the_launcher_is_refused(
    both: tuple[str, Path], shims: Shims, target: str, tmp_path: Path
) -> None:
    """Others share it, and could put another launcher there. The control: links that lead elsewhere are nobody's."""
    volume = {"destination": "/data", "type": "bind", "source": str(tmp_path), "options": ["rbind", "rw"]}
    outcomes = []
    for runtime in both:
        with bundle(runtime, lambda config: config["mounts"].append(volume), asks(policy="files")) as one:
            (one.directory / "rootfs/data").symlink_to(target)
            done = one.run(check=False)
            outcomes.append((done.returncode, done.stdout.splitlines()))
            if (runtime, target) == (both[1], "/dev"):
                assert "lead the mount '/data' over /dev" in done.stderr
    assert outcomes == [(7, FREE), (1, []) if target == "/dev" else (7, HELD)]
    assert not (tmp_path / ".scmm-enforce").exists()


@pytest.mark.parametrize("form", ["absolute", "relative"])
def test_a_terminal(both: tuple[str, Path], shims: Shims, form: str) -> None:
    """The console's other end comes over the socket; without --bundle the working directory is the bundle."""

    def terminal(config: dict[str, Any]) -> None:
        config["process"]["terminal"] = True

    def ends(told: bytes) -> bool:
        return told.count(b"\n") > 1 and told.endswith((b"read\r\n", b"refused\r\n"))

    text = "test -t 0 && echo on $(tty); cat /etc/passwd >/dev/null 2>&1 && echo read || echo refused; exec sleep 1000"
    outcomes = []
    for runtime in both:
        with bundle(runtime, terminal, asks(policy="files"), text=text) as one:
            told = said_on_terminal(one, ends, place="" if form == "absolute" else "console")
            outcomes.append([line for line in told if not line.startswith("scmm-enforce:")])
    assert outcomes == [["on /dev/pts/0", "read", ""], ["on /dev/pts/0", "refused", ""]]


def test_descriptors_that_are_to_be_preserved(both: tuple[str, Path], shims: Shims) -> None:
    text = "cat <&3; cat <&4; cat <&5 2>/dev/null || echo no 5"
    for edits in ((), (asks(policy="files"),)):
        outcomes = []
        for runtime in both:
            with bundle(runtime, *edits, text=text) as one, Streams("three", "four", "five") as streams:
                one.save()
                command = [str(runtime), f"--root={one.base / 'state'}", "run", f"--bundle={one.directory}"]
                outcomes.append(streams.run([*command, "--preserve-fds=2", one.id]))
                environment = {"LISTEN_FDS": "1", "LISTEN_PID": "own"}
                outcomes.append(streams.run([*command, "--preserve-fds", "1", one.id], environment))
        assert outcomes[:2] == outcomes[2:]
        assert outcomes[0] == (0, "threefourno 5\n")


def test_a_detached_run_and_its_pid_file(both: tuple[str, Path], shims: Shims) -> None:
    for runtime in both:
        with bundle(runtime, asks(policy="files"), text="echo $$; exec sleep 1000") as one:
            one.save()
            words = ["run", "--detach", "--pid-file", "../pid", "-b", str(one.directory), one.id]
            one(*words, output=one.log)
            assert Path(f"/proc/{one.pid()}").exists()
            assert wait_until(lambda one=one: said(one), deadline_s=30, what="output") == ["1"]
            assert one.state()["status"] == "running"


def test_recording_and_enforcing_at_once(shims: Shims, hooks: Hooks, tmp_path: Path) -> None:
    own = make_shims(tmp_path / "shims", hooks=hooks)
    own.add("files", POLICY)
    for name, edits, expected in (("plain", (), FREE), ("held", (asks(policy="files"),), HELD)):
        with bundle(own.runc, asks(record="required", name=name), *edits) as one:
            done = one.run(check=False)
            assert (done.returncode, done.stdout.splitlines()) == (7, expected), done.stderr
        names = [call["name"] for call in hooks.capture(name)["sessions"][0]["phases"]["app"]]
        assert {"write", "exit_group"} <= {*names}
    assert own.kept() == []


def test_two_shims_at_once_on_one_id(shims: Shims) -> None:
    """One container comes of it, enforced; the other is refused, by the shim or by the runtime."""
    with bundle(shims.runc, asks(policy="files"), text="exec sleep 1000") as one:
        one.save()
        command = [str(shims.runc), f"--root={one.base / 'state'}", "create", f"--bundle={one.directory}", one.id]
        outputs = [(one.base / f"output{number}").open("wb") for number in range(4)]
        started = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file) for file in outputs]
        codes = sorted(each.wait(timeout=60) for each in started)
        for file in outputs:
            file.close()
        assert codes == [0, 1, 1, 1]
        one.start()
        assert one.exec("sh", "-c", PROBE).stdout.split() == ["refused", "unset"]
    assert shims.kept() == []
