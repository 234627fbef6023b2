"""`scmm record -p` of what runs already, and `--snapshot` of recordings that go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recording import Recorder, as_from_a_shell, called, files, losses, state_of
from support import Hooks
from trial import Trial

from rig.process import wait_until
from scmm_oci.cli.main import main


@pytest.fixture
def recorder(hooks: Hooks, tmp_path: Path) -> Recorder:
    work = tmp_path / "work"
    work.mkdir(mode=0o755)
    return Recorder(hooks, work)


@contextmanager
def running(*words: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process that reads from a pipe and prints to one; killed at the end."""
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=as_from_a_shell, **options
    ) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


SHELL = 'while read line; do eval "$line"; echo done; done'


def end(recorder: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """End a recording as Ctrl-C does; what it said."""
    recorder.send_signal(number)
    out, err = recorder.communicate(timeout=60)
    assert recorder.returncode == 0, err
    return out + err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_process_is_recorded_from_then_on(recorder: Recorder, number: int) -> None:
    with running("sh", "-c", SHELL) as process:
        say(process, "mkdir before")
        assert hear(process) == "done"
        with recorder.start("-p", str(process.pid)) as ours:
            recorder.entry()
            say(process, "mkdir one; link=$(readlink /proc/self/exe)")
            assert hear(process) == "done"
            recorder.await_calls()
            said = end(ours, number)
        say(process, "rmdir one")
        assert hear(process) == "done", "the process was harmed"
    capture = recorder.capture()
    assert capture["source"] == "attached" and losses(capture)["attached"] == 1
    assert capture["container"]["args"] == ["sh", "-c", SHELL]
    assert called(capture)["mkdir"] == 1 and "rmdir" not in called(capture)
    assert [Path(each["path"]).name for each in capture["programs"]][1:] == ["mkdir", "readlink"]
    assert "; incomplete: " in said and "attached" in said and "never-started" not in said
    extract = ["extract", "-i", str(recorder.path()), "-o", str(recorder.directory / "p.yaml"), "--non-interactive"]
    assert main(extract) == 2
    assert main([*extract, "--accept-incomplete"]) == 0


def test_process_that_does_nothing_meanwhile(recorder: Recorder) -> None:
    with running("sh", "-c", SHELL) as process:
        done = recorder.run("-p", str(process.pid), "--duration", "0.1")
    assert (done.returncode, losses(recorder.capture())) == (0, {"attached": 1})
    assert called(recorder.capture()) == {}


def test_process_under_nohup(recorder: Recorder) -> None:
    def nohup() -> None:
        as_from_a_shell()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with running("sh", "-c", SHELL) as process, recorder.start("-p", str(process.pid), before=nohup) as ours:
        recorder.entry()
        ours.send_signal(signal.SIGHUP)
        say(process, "mkdir one")
        assert hear(process) == "done"
        recorder.await_calls()
        assert ours.poll() is None
        end(ours, signal.SIGTERM)
    assert called(recorder.capture())["mkdir"] == 1


def test_recording_ends_with_the_process(recorder: Recorder) -> None:
    with (
        running("sh", "-c", "read line; mkdir last") as process,
        recorder.start("-p", str(process.pid), "--no-follow") as ours,
    ):
        recorder.entry()
        say(process)
        assert ours.wait(30) == 0
    capture = recorder.capture()
    assert losses(capture)["unfollowed"] == 1 and "wait4" in called(capture) and "mkdir" not in called(capture)


def test_every_thread_is_recorded(recorder: Recorder, payload: Path) -> None:
    """Threads that sleep when the recording begins; the control is the same for the first thread alone."""
    script = (
        "import os, threading\n"
        "go = threading.Event()\n"
        "def work():\n    go.wait(); os.getpgid(0)\n"
        "threads = [threading.Thread(target=work) for _ in range(7)]\n"
        "[each.start() for each in threads]\n"
        "print('up', flush=True); input(); go.set(); [each.join() for each in threads]\n"
    )
    with running(sys.executable, "-c", script) as process:
        assert hear(process) == "up"
        with recorder.start("-p", str(process.pid)) as ours:
            recorder.entry()
            assert recorder.run("--snapshot", "capture", "-o", "now.scmm-cap").returncode == 0
            say(process)
            assert ours.wait(30) == 0
    assert called(recorder.capture())["getpgid"] == 7
    assert "getpgid" not in called(recorder.capture("now"))


def test_what_cannot_be_recorded_is_told_with_its_reason(recorder: Recorder) -> None:
    script = (
        "import threading, time\nt = threading.Thread(target=time.sleep, args=(99,))\nt.start()\n"
        "print(t.native_id, flush=True)\n"
    )
    unwaited = "import os, signal; pid = os.fork() or os._exit(0); print(pid, flush=True); signal.pause()"
    with (
        running(sys.executable, "-c", script) as threads,
        running(sys.executable, "-c", unwaited) as parent,
    ):
        thread, zombie = hear(threads), hear(parent)
        wait_until(lambda: state_of(int(zombie)) == "Z", deadline_s=30, what="a zombie")
        gone = 4194304 - 1  # proc_sys_kernel(5): ids are below pid_max, which is this at the most
        for pid, why in (
            (gone, f"there is no process {gone}"),
            (thread, f"{thread} is a thread of process {threads.pid} (record that: -p {threads.pid})"),
            (zombie, f"process {zombie} has ended"),
            (2, "2 is a thread of the kernel, which makes no system calls"),
        ):
            done = recorder.run("-p", str(pid))
            assert (done.returncode, done.stderr) == (1, f"error: {why}\n")
    own = subprocess.run(
        ["sh", "-c", 'exec "$@" -p $$', "sh", *recorder.words()],
        env=recorder.environ(),
        cwd=recorder.directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert own.returncode == 1 and "is scmm record itself" in own.stderr
    assert not recorder.path().exists()


def test_process_that_is_recorded_already(recorder: Recorder) -> None:
    with running("sh", "-c", SHELL) as process, recorder.start("-p", str(process.pid), "-o", "one.scmm-cap") as ours:
        recorder.entry("one")
        done = recorder.run("-p", str(process.pid))
        assert done.returncode == 1
        assert done.stderr == (
            "error: the process is recorded already, as 'one' "
            "(what that has until now: scmm record --snapshot one -o FILE)\n"
        )
        say(process, "mkdir x")
        assert hear(process) == "done"
        recorder.await_calls("one")
        end(ours)
        assert called(recorder.capture("one"))["mkdir"] == 1, "the refusal harmed the recording that runs"


@pytest.mark.parametrize("place", ["mounts", "chroot", "both", "here"])
def test_names_are_those_of_the_processs_own_root(recorder: Recorder, place: str) -> None:
    """stat and unlink are given names only, which are looked up in the end: there, and not here."""
    root = recorder.directory / "root"
    for each in ("real", "bin", "lib", "lib64", "usr", "proc"):
        (root / each).mkdir(parents=True)
    (root / "link").symlink_to("real")
    (root / "real/file").touch()
    binds = " && ".join(f"mount --bind {each} {root}{each}" for each in ("/bin", "/lib", "/lib64", "/usr"))
    shell = f"sh -c '{SHELL}'"
    line = {
        "mounts": f"mount --bind {root} /mnt && cd / && exec {shell}",
        "chroot": f"{binds} && exec chroot {root} {shell}",
        "both": f"mount --bind {root} /mnt && {binds.replace(str(root), '/mnt')} && exec chroot /mnt {shell}",
        "here": f"cd / && exec {shell}",
    }[place]
    inside = {"mounts": "/mnt", "chroot": "", "both": "", "here": str(root)}[place]
    expected = {"mounts": "/mnt", "chroot": str(root), "both": "/mnt", "here": str(root)}[place]
    words = ["unshare", "-m"] if place != "here" else []
    with running(*words, "sh", "-c", line) as process:
        say(process)
        assert hear(process) == "done"
        with recorder.start("-p", str(process.pid)) as ours:
            recorder.entry()
            say(process, f"cat < {inside}/link/file; rm {inside}/link/file; mkdir {inside}/link/made")
            assert hear(process) == "done"
            recorder.await_calls()
            recorder.run("--snapshot", "capture", "-o", "now.scmm-cap")
            end(ours)
    for capture in (recorder.capture(), recorder.capture("now")):
        for operation, name in (("open", "file"), ("unlink", "file"), ("mkdir", "made")):
            assert files(capture, operation).get(f"{expected}/real/{name}") == "resolved", (operation, capture["files"])


def test_snapshot_of_a_container_that_hooks_record(recorder: Recorder, payload: Path) -> None:
    with Trial(recorder.hooks, payload, "gate", str(payload), "forks", "3", name="hooked", gates=1) as trial:
        trial.pass_gate()
        table = recorder.run("--list")
        assert table.stdout.splitlines()[0].split() == ["name", "source", "container", "pid", "started", "state"]
        row = table.stdout.splitlines()[1].split()
        assert row[:4] == ["hooked", "container", "hooked", str(trial.process.pid)] and row[-1] == "recording"
        for wanted in ("hooked", "hook", str(trial.process.pid)):
            done = recorder.run("--snapshot", wanted, "-o", "now.scmm-cap")
            assert done.returncode == 0, done.stderr
            capture = recorder.capture("now")
            assert losses(capture) == {"snapshot": 1} and "read" in called(capture)
            assert capture["name"] == "now" and "getpgid" not in called(capture)
        done = recorder.run("--snapshot", "hooked", "--memory", "--json", "-o", "now.scmm-cap")
        assert {each["kind"] for each in json.loads(done.stdout)["losses"]} == {"snapshot", "filtered"}
        assert "read" not in called(recorder.capture("now"))
        assert main(["extract", "-i", str(recorder.path("now")), "-o", str(recorder.directory / "p.yaml")]) == 2
        trial.release()
        capture = trial.finish()
    assert capture["complete"] and called(capture)["getpgid"] == 3
    done = recorder.run("--snapshot", "hooked")
    assert done.returncode == 1
    assert done.stderr == "error: no recording is called 'hooked' (running: none)\n"


def test_names_that_two_recordings_have(recorder: Recorder) -> None:
    with (
        running("sh", "-c", SHELL) as one,
        running("sh", "-c", SHELL) as two,
        recorder.start("-p", str(one.pid), "--name", "same", "-o", "1.scmm-cap") as first,
        recorder.start("-p", str(two.pid), "--name", "same", "-o", "2.scmm-cap") as second,
    ):
        run_dir = Path(recorder.hooks.settings.run_dir)
        wait_until(lambda: len(list(run_dir.glob("*.json"))) == 2, deadline_s=20, what="two recordings")
        done = recorder.run("--snapshot", "same", "-o", "now.scmm-cap")
        assert done.returncode == 1
        assert done.stderr.startswith("error: more than one recording is called 'same' (give a process id: ")
        assert recorder.run("--snapshot", str(two.pid), "-o", "now.scmm-cap").returncode == 0
        end(first)
        end(second)


def test_program_is_named_in_its_own_mounts_beside_a_container(recorder: Recorder, payload: Path) -> None:
    """A recording of a container in mounts of its own must not make those of a process look foreign, or back."""
    inside = ("unshare", "-m", "--propagation", "private")
    with Trial(recorder.hooks, payload, "calls", "2", "2000000", name="other", prefix=inside) as trial:
        # Keeps both processors' memory of the last recording busy with the other one's namespace.
        assert trial.process.stdin is not None
        trial.process.stdin.write(b"x")
        trial.process.stdin.flush()
        for number in range(3):
            with running("sh", "-c", SHELL) as process, recorder.start("-p", str(process.pid)) as ours:
                recorder.entry()
                say(process, f"cat /etc/hostname >/dev/null; : > {recorder.directory}/made{number}")
                assert hear(process) == "done"
                recorder.await_calls()
                end(ours)
            capture = recorder.capture()
            assert {each["state"] for each in capture["programs"]} == {"resolved"}
            assert files(capture)[f"{recorder.directory}/made{number}"] == "resolved"
        trial.process.wait(60)
        assert trial.finish()["complete"]
