"""How the launcher becomes the program: found as a shell finds it, with nothing inherited, and ends of all kinds.

And which files it takes for a policy.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import enforce
import pytest
from enforce import acts, bytes_of, launcher, run, stored

from scmm_oci.policy.model import LandlockScope

WWW = 33
POLICY_MOST = 64 << 20


@pytest.fixture(autouse=True, scope="module")
def kernel() -> None:
    enforce.needed()


@pytest.fixture(scope="module")
def policy() -> bytes:
    return bytes_of(scopes=(LandlockScope.SIGNAL,))


def ended(*words: object, **how: object) -> subprocess.CompletedProcess[str]:
    given = {"capture_output": True, "text": True, "timeout": 60, "check": False, **how}
    return subprocess.run([str(one) for one in words], **given)  # type: ignore[call-overload,no-any-return]


def test_the_program_ends_as_it_would_without(policy: bytes) -> None:
    for code in (0, 1, 2, 125, 126, 127, 255):
        assert run(policy, "exit", code, mode="strict").code == code
        assert ended(acts(), "exit", code).returncode == code
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP):
        assert run(policy, "raise", int(number), mode="strict").code == -number
    # It is the same process, to which signals come directly.
    assert run(policy, "kill", os.getpid(), 0, mode="seccomp").lines == ["ok"]


def test_nothing_of_the_launcher_is_left(policy: bytes, place: Path) -> None:
    """The same process, whose parent sees its name, its arguments and its environment change."""
    script = place / "script"
    script.write_text(
        "#!/bin/sh\ntr '\\0' '|' </proc/$$/cmdline; echo; tr '\\0' '|' </proc/$$/environ; echo; echo $PPID\n"
    )
    script.chmod(0o755)
    done = run(policy, "a b", "", "--", "-p", program=script, env={"PATH": "/usr/bin:/bin", "ODD": "x=y"})
    assert done.lines == [f"/bin/sh|{script}|a b||--|-p|", "PATH=/usr/bin:/bin|ODD=x=y|", str(os.getpid())]


def search(directories: Sequence[object], name: str, policy: bytes, *, cwd: Path) -> tuple[int, list[str]]:
    path = ":".join(str(one) for one in directories)
    done = run(policy, "self", program=name, env={"PATH": path}, cwd=cwd, mode="strict")
    return done.code, done.lines


def test_path_is_searched_as_by_a_shell(policy: bytes, place: Path) -> None:
    for name in ("first", "second", "here", "bad/tool"):
        (place / name).mkdir(parents=True)
    for name in ("first/only", "second/tool", "here/local"):
        shutil.copy(acts(), place / name)
    (place / "first/plain").write_text("no program")
    shutil.copy(acts(), place / "second/plain")
    both = [place / "missing", place / "first/only", place / "bad", place / "first", place / "second"]
    # argv[0] is the word that was given.
    assert search(both, "only", policy, cwd=place) == (0, ["only ok"])
    # A directory of that name, and a file that is not executable, are passed over.
    assert search(both, "tool", policy, cwd=place) == (0, ["tool ok"])
    assert search(both, "plain", policy, cwd=place) == (0, ["plain ok"])
    assert search(both[:-1], "plain", policy, cwd=place)[0] == 126
    assert search(both[:3], "tool", policy, cwd=place)[0] == 126
    assert search(both, "none", policy, cwd=place)[0] == 127
    # An empty entry is the current directory, wherever it stands; without one that is not searched.
    for directories in (["", place], [place, ""], [place, "", place]):
        assert search(directories, "local", policy, cwd=place / "here") == (0, ["local ok"])
    assert search([place], "local", policy, cwd=place / "here")[0] == 127
    assert search([""], "local", policy, cwd=place)[0] == 127
    # A name with a slash is not searched for.
    assert search([place], "first/only", policy, cwd=place) == (0, ["first/only ok"])
    assert search([place], "./local", policy, cwd=place / "here") == (0, ["./local ok"])
    assert search([place / "here"], "./local", policy, cwd=place)[0] == 127
    assert search([place], "", policy, cwd=place)[0] == 127
    # Names and directories that are too long are none.
    assert search(["x" * 5000, place / "first"], "only", policy, cwd=place) == (0, ["only ok"])
    assert search([place], "x" * 5000, policy, cwd=place)[0] == 127


def test_without_path_there_are_the_usual_directories(policy: bytes) -> None:
    done = run(policy, program="true", env={})
    assert (done.code, done.errors) == (0, "")
    assert run(policy, program="no-such-program", env={}).code == 127


def test_the_policy_decides_about_each_place_of_path(place: Path) -> None:
    for name in ("first", "second"):
        (place / name).mkdir()
        shutil.copy(acts(), place / name / "tool")
    policy = bytes_of(files={place / "second": ["read_file", "execute"]})
    assert search([place / "first", place / "second"], "tool", policy, cwd=place) == (0, ["tool ok"])
    assert search([place / "first"], "tool", policy, cwd=place)[0] == 126


def made(path: Path, text: str | bytes, mode: int = 0o755) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def test_what_cannot_be_executed(policy: bytes, place: Path) -> None:
    loader = bytearray(Path("/bin/true").read_bytes())
    at = loader.index(b"/lib")
    loader[at : at + 4] = b"/no/"
    cases = {
        "missing": (127, "there is no program"),
        "below/file": (127, "there is no program"),
        str(made(place / "plain", "text", 0o644)): (126, "plain: nobody may execute it (chmod +x)"),
        str(place): (126, f"{place}: it is a directory"),
        str(made(place / "no-interpreter", "#!/no/such\n")): (127, "its interpreter or loader is not there"),
        str(made(place / "no-loader", bytes(loader))): (127, "its interpreter or loader is not there"),
        str(made(place / "text", "echo this is for a shell\n")): (126, "ENOEXEC"),
        str(made(place / "empty", "")): (126, "ENOEXEC"),
        str(made(place / "odd\x1b[31m\n", "x")): (126, "odd\\x1b[31m\\x0a: ENOEXEC"),
    }
    for mode in ("strict", "seccomp"):
        for name, (code, why) in cases.items():
            done = run(policy, program=name, mode=mode, cwd=place)
            assert (done.code, why in done.errors) == (code, True), (name, done)
            told = [line for line in done.errors.splitlines() if "the policy is" not in line and ":   " not in line]
            assert len(told) == 1 and told[0].startswith("scmm-enforce: ")
    script = made(place / "script", f"#!{acts()} self\n")
    assert run(policy, program=script).code == 99
    made(place / "wrapper", '#!/bin/sh\nexec "$@"\n')
    assert run(policy, acts(), "self", program=place / "wrapper").lines == [f"{acts()} ok"]


def test_the_file_that_path_has_is_named(place: Path) -> None:
    """It is another than people think, often."""
    for name in ("one", "two", "three"):
        (place / name).mkdir()
    made(place / "one/tool", "x", 0o644)
    made(place / "two/tool", "#!/bin/sh\n")
    made(place / "three/tool", "#!/bin/sh\n")
    files = bytes_of(files={place: ["read_file"]})
    path = {"PATH": f"{place}/none:{place}/one:{place}/two:{place}/three"}
    done = run(files, program="tool", env=path)
    why = (
        "it may not be executed: with a policy for files, it, its interpreter and its loader need execute and read_file"
    )
    assert (done.code, done.errors.splitlines()[-1]) == (126, f"scmm-enforce: cannot execute {place}/two/tool: {why}")


def test_bad_command_lines_are_the_launchers_own_failures(policy: bytes) -> None:
    file = stored(policy)
    for words, why in (
        ((), "no policy was given"),
        (("-p",), "the option needs a value: -p"),
        (("-p", file), "no program was given"),
        (("-p", file, "--"), "no program was given"),
        (("-p", file, "-m", "none", "true"), "unknown mode none"),
        (("-p", file, "--mode=", "true"), "unknown mode"),
        (("-p", file, "--nonsense", "true"), "unknown option --nonsense"),
        (("-p", file, "--json", "true"), "--json goes with --check"),
        (("-p", file, "-q", "-v", "true"), "--quiet goes with neither --verbose nor --check"),
        (("-p", file, "--quiet", "--check"), "--quiet goes with neither --verbose nor --check"),
        (("-p", file, "--status-fd", "x", "true"), "not a number for --status-fd: x"),
        (("-p", file, "--status-fd", "99999999999999999999", "true"), "not a number"),
        (("-p", file, "--preserve-fds", "-1", "true"), "not a number for --preserve-fds: -1"),
        (("-p", file, "--policy", file, "true"), "the option is given twice: --policy"),
        (("-p", file, "-m", "strict", "--mode=seccomp", "true"), "the option is given twice: --mode"),
    ):
        done = ended(launcher(), *words)
        assert (done.returncode, done.stdout) == (125, ""), words
        assert done.stderr.startswith("scmm-enforce: ") and why in done.stderr, (words, done.stderr)
    assert ended(launcher(), "--help").returncode == 0
    # Options end with the program's name: what follows is its own.
    assert ended(launcher(), "-p", file, acts(), "exit", 7).returncode == 7
    assert ended(launcher(), f"--policy={file}", "--mode=strict", acts(), "self").stdout == f"{acts()} ok\n"


def test_descriptors_are_closed_but_for_those_to_be_preserved(policy: bytes) -> None:
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(6)]
    try:
        for fd in held:
            os.set_inheritable(fd, True)
        command = [str(launcher()), "-p", str(stored(policy)), "-m"]

        def left(*options: str, mode: str = "strict") -> str:
            words = [*command, mode, *options, "--", str(acts()), "fds"]
            # sh gives them numbers that are known: 3, 4, 5 and 9.
            sh = f'exec 3<&{held[0]} 4<&{held[1]} 5>/dev/null 9<&{held[3]}; exec "$@"'
            return ended("bash", "-c", sh, "bash", *words, close_fds=False).stdout

        assert left() == "0 1 2 ok\n"
        assert left(mode="seccomp") == "0 1 2 ok\n"
        assert left("--preserve-fds", "2") == "0 1 2 3 4 ok\n"
        assert left("--preserve-fds=0") == "0 1 2 ok\n"
        assert left("--preserve-fds", "3", "--status-fd", "5") == "0 1 2 3 4 ok\n"
        # The control.
        free = ended("bash", "-c", f'exec 3<&{held[0]} 9<&{held[3]}; exec "$@"', "bash", acts(), "fds", close_fds=False)
        assert {"3", "9"} < set(free.stdout.split())
    finally:
        for fd in held:
            os.close(fd)


def test_closed_stdio_stays_closed_and_nothing_else_takes_its_place(policy: bytes, place: Path) -> None:
    file = stored(policy)
    for closing, expected in (
        ("0<&-", "1 2 ok"),
        ("2>&-", "0 1 ok"),
        ("0<&- 2>&-", "1 ok"),
        ("", "0 1 2 ok"),
    ):
        words = ("sh", "-c", f'exec "$@" {closing}', "sh", launcher(), "-p", file, "-m", "strict", "--", acts(), "fds")
        assert ended(*words).stdout == f"{expected}\n", closing
    # With all of them closed it still runs, and its own complaints go nowhere.
    words = ("sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", launcher(), "-p", file, "--")
    assert ended(*words, acts(), "mkdir", place / "made").returncode == 0
    assert (place / "made").is_dir()
    done = ended(*words, place / "none")
    assert (done.returncode, done.stdout, done.stderr) == (127, "", "")


def test_the_status_comes_before_the_program_begins(policy: bytes) -> None:
    done = ended(launcher(), "-p", stored(policy), "--status-fd", "1", "--", acts(), "self")
    first, second = done.stdout.splitlines()
    assert first.startswith('{"mode":"standard","enforced":"fully"') and second == f"{acts()} ok"


def refused(file: Path, why: str, place: Path, **how: object) -> None:
    for mode in ("standard", "strict", "seccomp"):
        done = run(file, "mkdir", place / "made", mode=mode, **how)
        assert (done.code, done.lines, (place / "made").exists()) == (125, [], False)
        assert why in done.errors and done.errors.startswith("scmm-enforce: "), done.errors


def test_files_that_are_no_policy(policy: bytes, place: Path) -> None:
    file = made(place / "policy", policy, 0o644)
    (place / "link").symlink_to(file)
    os.mkfifo(place / "fifo")
    (place / "directory").mkdir()
    refused(place / "none", "cannot open the policy", place)
    refused(place / "link", "is a symbolic link; give the file itself", place)
    refused(place / "fifo", "is no regular file", place)
    refused(place / "directory", "is no regular file", place)
    refused(Path("/dev/null"), "is no regular file", place)
    refused(made(place / "empty", ""), "is empty", place)
    refused(made(place / "text", "settings: {}"), "is no compiled policy", place)
    refused(made(place / "half", policy[: len(policy) // 2]), "has not the size that it says", place)
    refused(made(place / "more", policy + bytes(8)), "has not the size that it says", place)
    refused(made(place / "bent", policy[:-9] + bytes([policy[-9] ^ 1]) + policy[-8:]), "has been damaged", place)
    with open(place / "sparse", "wb") as sparse:
        sparse.truncate(POLICY_MOST + 1)
    refused(place / "sparse", "is larger than 64 MiB", place)
    for mode in (0o664, 0o646, 0o622):
        file.chmod(mode)
        refused(file, "may be written by others", place)
    file.chmod(0o644)
    os.chown(file, WWW, WWW)
    refused(file, "belongs to another user", place)
    # Root's is good for all, and the user's own for them.
    as_www = ("setpriv", "--reuid", str(WWW), "--regid", str(WWW), "--clear-groups")
    assert run(file, "nnp", before=as_www).lines == ["1 ok"]
    os.chown(file, 0, 0)
    assert run(file, "nnp", before=as_www).lines == ["1 ok"]
    assert run(file, "nnp", mode="strict").lines == ["1 ok"]
    file.chmod(0o600)
    refused(file, "cannot open the policy", place / "theirs", before=as_www)


def test_a_file_that_grows_meanwhile_is_never_taken_for_another(policy: bytes, place: Path) -> None:
    """Every run is by the whole policy, or is refused."""
    file = made(place / "policy", policy, 0o644)
    done, ends = threading.Event(), []

    def grow() -> None:
        with open(file, "r+b") as handle:
            while not done.is_set():
                handle.seek(0, os.SEEK_END)
                handle.write(bytes(64))
                handle.flush()
                handle.truncate(len(policy))

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(60):
            ends.append(run(file, "nnp", mode="strict"))
    finally:
        done.set()
        writer.join()
    assert {(one.code, tuple(one.lines)) for one in ends} <= {(0, ("1 ok",)), (125, ())}
    assert all("the policy" in one.errors for one in ends if one.code == 125)
    assert run(file, "nnp", mode="strict").lines == ["1 ok"]
