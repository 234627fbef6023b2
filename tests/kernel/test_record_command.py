"""`scmm record -- COMMAND`: the command runs as it would without us, and what it did is in the capture."""

from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from recording import Recorder, as_from_a_shell, called, files, losses, notes, state_of
from support import Hooks

from rig.process import wait_until
from scmm_oci.cli.main import main

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def recorder(hooks: Hooks, tmp_path: Path) -> Recorder:
    work = tmp_path / "work"
    work.mkdir(mode=0o755)
    return Recorder(hooks, work)


def script(path: Path, text: str | bytes, mode: int = 0o755) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("line", "status"), [("exit 3", 3), ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9), ("true", 0)]
)
def test_exit_status_is_the_commands(recorder: Recorder, line: str, status: int) -> None:
    done = recorder.run("--json", "--", "sh", "-c", f"mkdir x; {line}")
    assert done.returncode == status
    assert json.loads(done.stdout)["exit_status"] == status
    capture = recorder.capture()
    assert capture["complete"] and capture["source"] == "command"
    assert called(capture)["mkdir"] == 1
    assert capture["container"]["args"] == ["sh", "-c", f"mkdir x; {line}"]


def test_what_is_no_program_leaves_an_earlier_capture_alone(recorder: Recorder) -> None:
    recorder.path().write_text("earlier")
    here = recorder.directory
    cases = {
        "nosuch": (127, "error: 'nosuch' cannot be executed: there is no such program in PATH\n"),
        "./nosuch": (127, "error: './nosuch' cannot be executed: there is no such program\n"),
        "": (127, "error: '' cannot be executed: there is no such program in PATH\n"),
        script(here / "plain", "true\n", 0o644): (126, "Permission denied\n"),
        script(here / "machine", b"\x7fELF\0\0\n"): (126, "Exec format error\n"),
        script(here / "odd", "#!/no/such/shell\n"): (126, "its interpreter or loader is missing\n"),
        "\x1b[31m\u202ered": (
            127,
            "error: '\\x1b[31m\\u202ered' cannot be executed: there is no such program in PATH\n",
        ),
    }
    for word, (status, message) in cases.items():
        done = recorder.run("--", word)
        assert (done.returncode, done.stdout) == (status, ""), done.stderr
        assert done.stderr.endswith(message), done.stderr
    assert recorder.path().read_text() == "earlier"
    assert not list(Path(recorder.hooks.settings.run_dir).glob("*.json"))


def test_script_without_an_interpreter_is_run_by_sh(recorder: Recorder) -> None:
    """As execvp(3), env(1) and shells do; os.execv alone refuses it, which is the control."""
    path = script(recorder.directory / "script", 'echo "$0 $1"; mkdir made\n')
    with pytest.raises(OSError, match="Exec format error"):
        subprocess.run([path, "one"], check=False)
    done = recorder.run("--", "./script", "one")
    assert (done.returncode, done.stdout) == (0, "./script one\n")
    assert called(recorder.capture())["mkdir"] == 1


def test_streams_and_environment_are_the_commands(recorder: Recorder) -> None:
    line = "cat; pwd; echo $MARK; echo problem >&2; ls /proc/self/fd"
    plain = subprocess.run(
        ["sh", "-c", line],
        input="given\n",
        capture_output=True,
        text=True,
        cwd=recorder.directory,
        env=recorder.environ(MARK="m"),
        preexec_fn=as_from_a_shell,
        check=True,
    )
    done = recorder.run("--", "sh", "-c", line, input="given\n", env={"MARK": "m"})
    assert done.stdout == plain.stdout, "the command sees other descriptors, or another environment"
    head, summary = done.stderr.splitlines()
    assert head == "problem"
    assert summary.startswith("capture.scmm-cap: ") and summary.endswith("; complete")
    assert ", 0 addresses, 3 programs" in summary
    quiet = recorder.run("-q", "--", "sh", "-c", line, input="given\n", env={"MARK": "m"})
    assert (quiet.stdout, quiet.stderr) == (plain.stdout, "problem\n")


def test_without_standard_streams(recorder: Recorder) -> None:
    def none() -> None:
        as_from_a_shell()
        for descriptor in (0, 1, 2):
            os.close(descriptor)

    with recorder.start("--", "sh", "-c", "ls /proc/self/fd > seen; exit 4", before=none) as process:
        assert process.wait(30) == 4
    assert recorder.capture()["complete"]
    assert (recorder.directory / "seen").read_text().split() == ["0", "1"], "the command has a descriptor of ours"


def test_user(recorder: Recorder) -> None:
    line = ("sh", "-c", "id -u; id -g; id -G; echo $HOME $USER $KEPT")
    ours = pwd.getpwuid(os.geteuid())
    env = {"HOME": ours.pw_dir, "USER": ours.pw_name, "KEPT": ours.pw_dir}
    assert recorder.run("--", *line, env=env).stdout.split()[0] == "0"
    done = recorder.run("--user", "nobody:daemon", "--", *line, env=env)
    assert done.stdout.split("\n") == ["65534", "1", "1", f"{NOBODY.pw_dir} nobody {ours.pw_dir}", ""]
    container = recorder.capture()["container"]
    assert (container["uid"], container["gid"]) == (65534, 1)
    # What is set otherwise than our account has it, was set on purpose.
    done = recorder.run("--user", "4711:4712", "--", *line, env={**env, "HOME": "/mine"})
    assert done.stdout.split("\n") == ["4711", "4712", "4712", f"/mine {ours.pw_dir}", ""]


def test_sudos_user_runs_the_command_and_owns_the_capture(recorder: Recorder) -> None:
    sudo = {"SUDO_UID": "65534", "SUDO_GID": "1", "SUDO_USER": "nobody"}
    for options, env, uid, owner in (
        ([], {}, "0", 0),
        ([], sudo, "65534", 65534),
        (["--user", "daemon"], sudo, "1", 65534),
        (["--user", "root"], sudo, "0", 65534),
    ):
        assert recorder.run(*options, "--", "id", "-u", env=env).stdout == f"{uid}\n"
        found = recorder.path().stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (owner, 0o600)


TRAPS = """
import os, signal, sys
def handle(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(7)
for number in map(int, sys.argv[1:]):
    signal.signal(number, handle)
print("up", flush=True)
while True:
    signal.pause()
"""


def test_signals_reach_the_command(recorder: Recorder) -> None:
    names = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTERM")
    numbers = [signal.Signals[name] for name in names]
    with recorder.start("--", sys.executable, "-c", TRAPS, *(str(int(each)) for each in numbers)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        for name, number in zip(names, numbers, strict=True):
            process.send_signal(number)
            assert process.stdout.readline() == f"{name}\n"
        assert process.wait(30) == 7
    assert recorder.capture()["complete"]


def test_signal_that_the_command_sends_its_group_does_not_come_back(recorder: Recorder) -> None:
    count = "import os, signal\nn = 0\ndef handle(*_):\n    global n; n += 1\nsignal.signal(signal.SIGUSR1, handle)\n"
    # One that comes in this time is taken from the handler.
    end = "os.kill(0, signal.SIGUSR1)\nmore = signal.sigtimedwait([signal.SIGUSR1], 0.3)\nprint(n, more)\n"
    done = recorder.run("--", sys.executable, "-c", count + end, start_new_session=True)
    assert (done.returncode, done.stdout) == (0, "1 None\n")


def ignored(pid: str = "self") -> str:
    """A shell's line that prints which signals it ignores, as a mask."""
    return f"sed -n 's/^SigIgn:.*\\(....\\)$/\\1/p' /proc/{pid}/status"


def test_under_nohup(recorder: Recorder) -> None:
    def nohup() -> None:
        as_from_a_shell()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    line = f"{ignored()}; exec sleep 100"
    assert recorder.run("--", "sh", "-c", ignored()).stdout == "0000\n"
    with recorder.start("--", "sh", "-c", line, before=nohup) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0003\n", "the command does not ignore SIGHUP and SIGINT"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM, "it ended for a signal that it ignores"
    assert recorder.capture()["complete"]


def test_children_that_are_ignored_and_signals_that_are_blocked(recorder: Recorder) -> None:
    def odd() -> None:
        as_from_a_shell()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR1, signal.SIGCHLD])

    look = (
        "import signal; print(signal.getsignal(signal.SIGCHLD).name,"
        " *sorted(each.name for each in signal.pthread_sigmask(0, []))); raise SystemExit(9)"
    )
    done = recorder.run("--", sys.executable, "-c", look, before=odd)
    assert (done.returncode, done.stdout) == (9, "SIG_IGN SIGCHLD SIGUSR1\n")


def test_killed_recorder_lets_the_command_go_on_and_is_recovered(recorder: Recorder) -> None:
    line = "mkdir before; echo up; read line; mkdir after; echo done"
    ours, theirs = os.pipe()
    with recorder.start("--name", "lost", "--", "sh", "-c", line, stdin=ours) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        pid = recorder.entry("lost")["pid"]
        assert [row["state"] for row in json.loads(recorder.run("--list", "--json").stdout)] == ["recording"]
        assert "nothing to recover" in recorder.run("--recover").stderr
        process.kill()
        process.wait(30)
        assert state_of(pid) in "SR", "the command was killed, too"
        assert [row["state"] for row in json.loads(recorder.run("--list", "--json").stdout)] == [
            "scmm record was killed"
        ]
        saved = recorder.run("--recover", "--json")
        os.write(theirs, b"\n")
        assert process.stdout.read() == "done\n", "the command hangs"
    os.close(ours)
    os.close(theirs)
    [row] = json.loads(saved.stdout)
    assert (saved.returncode, row["path"]) == (0, str(recorder.hooks.path("lost")))
    capture = recorder.hooks.capture("lost")
    assert losses(capture) == {"cut-short": 1} and notes(capture)["still-running"] == 1
    assert "scmm record was killed" in capture["losses"][0]["detail"]
    assert called(capture)["mkdir"] == 1
    assert "resolved" in {row["state"] for row in capture["files"] if row["operation"] == "mkdir"}
    assert not recorder.path().exists()


def test_recording_that_another_ends_is_told(recorder: Recorder) -> None:
    with recorder.start("--", "sh", "-c", "echo up; read line || exec sleep 100") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert recorder.run("--recover", "--all").returncode == 0
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.startswith("error: someone else has ended this recording (scmm record --recover --all does;")
    assert recorder.hooks.path("capture").exists() and not recorder.path().exists()


def test_duration_ends_the_recording_and_not_the_command(recorder: Recorder) -> None:
    ours, theirs = os.pipe()
    with recorder.start("--duration", "0.2", "--", "sh", "-c", "read x; echo $x", stdin=ours) as process:
        assert process.wait(30) == 0
        assert process.stderr is not None and process.stdout is not None
        os.write(theirs, b"alive\n")
        assert process.stdout.read() == "alive\n"
        said = process.stderr.read()
    os.close(ours)
    os.close(theirs)
    assert "; 1 thread of it still running\nsh goes on without being recorded, as process " in said
    capture = recorder.capture()
    assert capture["complete"] and notes(capture)["still-running"] == 1
    # The control: what ends by itself is not said to go on.
    done = recorder.run("--duration", "60", "--", "true")
    assert "goes on" not in done.stderr and notes(recorder.capture()) == {}


def test_child_that_outlives_the_command(recorder: Recorder) -> None:
    ours, theirs = os.pipe()
    # Its own output is closed, or nobody would wait for the command's end only.
    line = "sh -c 'echo > begun; read line; mkdir late' >/dev/null 2>&1 <&3 & until [ -e begun ]; do :; done; exit 5"
    done = recorder.run("--", "sh", "-c", f"exec 3<&0; {line}", stdin=ours)
    os.write(theirs, b"\n")
    assert done.returncode == 5
    capture = recorder.capture()
    assert capture["complete"] and notes(capture)["still-running"] == 1
    wait_until((recorder.directory / "late").exists, deadline_s=10, what="the child went on")
    assert "mkdir" not in called(capture)
    os.close(ours)
    os.close(theirs)


def test_children_are_followed_or_not(recorder: Recorder) -> None:
    line = ("sh", "-c", "mkdir one; rmdir one")
    for option in ([], ["-f"], ["--follow"]):
        capture = recorder.of(*line, options=option)
        assert capture["complete"] and called(capture).keys() >= {"mkdir", "rmdir", "wait4"}
    capture = recorder.of(*line, options=["--no-follow"])
    assert losses(capture) == {"unfollowed": 2}
    assert "wait4" in called(capture) and not called(capture).keys() & {"mkdir", "rmdir"}


EVERYTHING = (
    "import os, socket, mmap\nos.mkdir('m'); os.rmdir('m')\nsocket.socket().close()\nos.setpgid(0, 0)\n"
    "mmap.mmap(-1, 4096).close()\nos.pipe()\nos.uname()\n"
)
OF = {"files": "rmdir", "network": "socket", "process": "setpgid", "memory": "munmap", "ipc": "pipe2"}


@pytest.mark.parametrize("chosen", [["files"], ["network", "ipc"], ["process"], ["memory"], ["ipc"], ["all"], []])
def test_categories(recorder: Recorder, chosen: list[str]) -> None:
    capture = recorder.of(sys.executable, "-c", EVERYTHING, options=[f"--{each}" for each in chosen])
    everything = chosen in ([], ["all"])
    wanted = set(OF) if everything else set(chosen)
    assert {each for each, name in OF.items() if name in called(capture)} == wanted
    assert "uname" in called(capture), "what belongs to no category is kept always"
    assert losses(capture) == ({} if everything else {"filtered": 1})
    assert bool(capture["order"]) == everything
    assert bool(files(capture)) == ("files" in wanted)
    extract = ["extract", "-i", str(recorder.path()), "-o", str(recorder.directory / "p.yaml"), "--non-interactive"]
    assert main(extract) == (0 if everything else 2)
    assert main([*extract, "--accept-incomplete"]) == 0


def test_everything_wrong_is_said_before_anything_runs(recorder: Recorder) -> None:
    line = ("--", "touch", "ran")
    done = recorder.run("-o", "", "--name", "../x", "--user", "nouser:nogroup1", *line)
    assert done.returncode == 2
    assert [text.split(" (")[0] for text in done.stderr.splitlines()] == [
        "error: --output: the file's name is empty",
        "error: --name: is not a capture's name",
        "error: --user: there is no user 'nouser'",
        "error: --user: there is no group 'nogroup1'",
    ]
    here = recorder.directory
    (here / "link").symlink_to("elsewhere")
    for path, why in (
        (str(here), "exists and is not a regular file"),
        ("link", "is a symbolic link and is not replaced (give the path it points to)"),
        ("/dev/null", "exists and is not a regular file"),
        ("no/where.scmm-cap", "cannot be written: No such file or directory"),
        ("/proc/x.scmm-cap", "cannot be written: No such file or directory"),
    ):
        done = recorder.run("-o", path, *line)
        assert (done.returncode, done.stderr) == (1, f"error: {path} {why}\n")
    assert sorted(each.name for each in here.iterdir()) == ["link"], "something ran, or was left"
    assert recorder.run("-o", "good.scmm-cap", "--name", "mine", *line).returncode == 0
    assert recorder.capture("good")["name"] == "mine"


def test_output_that_cannot_be_written_in_the_end_is_kept(recorder: Recorder) -> None:
    (recorder.directory / "gone").mkdir()
    done = recorder.run("-o", "gone/x.scmm-cap", "--", "rmdir", "gone")
    kept = Path(recorder.hooks.settings.run_dir) / "unsaved/x.scmm-cap"
    assert done.returncode == 1
    assert done.stderr.startswith("error: the capture could not be written (gone/x.scmm-cap cannot be written: No such")
    assert str(kept) in done.stderr and kept.exists()
    assert recorder.run("--recover").returncode == 0
    assert called(recorder.hooks.capture("x"))["rmdir"] == 1


def test_other_mount_namespace_is_told_from_ours(recorder: Recorder) -> None:
    """What a command opens under a name in mounts of its own is not the file that has that name here."""
    line = "mount -t tmpfs none /mnt && echo > /mnt/file && cat /mnt/file; echo > here"
    inside = files(recorder.of("unshare", "-m", "sh", "-c", line))
    assert inside["/mnt/file"] == "outside"
    assert inside[str(recorder.directory / "here")] == "outside"
    assert files(recorder.of("sh", "-c", "echo > here"))[str(recorder.directory / "here")] == "resolved"
