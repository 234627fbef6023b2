"""The launcher that the package carries: finding it, and how it takes a policy from a descriptor."""

from __future__ import annotations

import fcntl
import os
import subprocess

import pytest

from scmm_oci.compiled import polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.enforcer import launcher
from scmm_oci.enforcer.overrides import Overrides, applied, nothing
from scmm_oci.errors import Failure
from scmm_oci.tables.arch import from_machine

MACHINE = os.uname().machine
FD = 7


@pytest.fixture(scope="module")
def policy():
    """A compiled policy that answers 71 to getsid."""
    given = Overrides(errno="EPROTO", rules=(("--deny", "getsid"),))
    return polfile.write(policy_file(applied(nothing(from_machine(MACHINE)), given))[0])


def run(fd, *words, number=FD):
    """The launcher with descriptor 7 (or another) being `fd`, or closed where that is None."""
    move = "" if fd is None else f"{number}<&{fd}"
    script = f'exec "$@" {move}'
    command = ["bash", "-c", script, "_", launcher.find(MACHINE), *words]
    given = () if fd is None else (fd,)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, pass_fds=given)


def said(fd, *words):
    done = run(fd, *words, "--", "echo", "it runs")
    assert (done.returncode, done.stdout) == (125, "")
    (line,) = done.stderr.splitlines()
    return line.removeprefix("scmm-enforce: ")


@pytest.fixture
def file(tmp_path, policy):
    path = tmp_path / "web.scmm-pol"
    path.write_bytes(policy)
    path.chmod(0o644)
    with path.open("r+b") as stream:
        yield stream


def test_a_policy_from_a_descriptor_is_held(file):
    words = ["--", "python3", "-c", "import os; print(os.getsid(0))"]
    done = run(file.fileno(), f"--policy-fd={FD}", *words)
    assert (done.returncode, "Protocol error" in done.stderr) == (1, True)
    # Where it was read before, and in two words.
    os.lseek(file.fileno(), 0, os.SEEK_END)
    assert run(file.fileno(), "--policy-fd", str(FD), *words).stderr == done.stderr
    assert run(file.fileno(), "-p", file.name, *words).stderr == done.stderr
    control = subprocess.run(words[1:], capture_output=True, text=True, check=True)
    assert int(control.stdout) == os.getsid(0)


def test_the_descriptor_is_not_the_programs(file):
    script = f"test -e /proc/self/fd/{FD} && echo there"
    for words, found in (([f"--policy-fd={FD}"], ""), (["-p", file.name], "there\n")):
        done = run(file.fileno(), *words, "--preserve-fds=9", "--", "bash", "-c", script)
        assert done.stdout == found


def test_what_the_descriptor_must_be(file, tmp_path):
    assert said(None, "--policy-fd=7") == "the policy descriptor 7: is not open"
    fd = file.fileno()
    os.fchmod(fd, 0o664)
    assert "descriptor 7: may be written by others" in said(fd, "--policy-fd=7")
    os.fchmod(fd, 0o644)
    for end in (pipe := os.pipe()):
        assert said(end, "--policy-fd=7") == "the policy descriptor 7: is no regular file"
    for end in pipe:
        os.close(end)
    os.ftruncate(fd, 70)
    assert said(fd, "--policy-fd=7").startswith("the policy descriptor 7: ")
    os.ftruncate(fd, 0)
    assert said(fd, "--policy-fd=7") == "the policy descriptor 7: is empty"
    with open(tmp_path / "written", "wb") as stream:
        stream.write(b"x")
        stream.flush()
        os.fchmod(stream.fileno(), 0o600)
        # It is open for writing alone.
        assert said(stream.fileno(), "--policy-fd=7").startswith("cannot read the policy descriptor 7: ")


@pytest.mark.parametrize("word", ["2", "0", "-1", "x", "", "7x", "4294967303", "1048577"])
def test_what_is_no_descriptor(file, word):
    assert said(file.fileno(), f"--policy-fd={word}") == f"not a number for --policy-fd: {word}"


def test_one_policy_and_no_descriptor_for_two_things(file):
    fd = file.fileno()
    expected = "two policies were given: either --policy or --policy-fd"
    assert said(fd, "--policy-fd=7", "-p", file.name) == expected
    assert said(fd, "--policy-fd=7", "--status-fd=7") == "--policy-fd and --status-fd are the same"


def test_what_is_compiled_for_one_run_cannot_be_changed(policy):
    fd = launcher._descriptor(policy)
    try:
        assert fd >= 3
        assert os.get_inheritable(fd)
        assert os.fstat(fd).st_mode & 0o777 == 0o400
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & seals == seals
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 1)
        assert os.pread(fd, len(policy) + 1, 0) == policy
        assert run(fd, f"--policy-fd={FD}", "--", "true").returncode == 0
    finally:
        os.close(fd)


@pytest.mark.parametrize("machine", ["riscv64", "", "../x", "x86_64/../scmm-enforce.x86_64", "X86_64"])
def test_there_is_no_launcher_for_other_machines(machine):
    with pytest.raises(Failure, match="there is no launcher for"):
        launcher.find(machine)


def test_a_launcher_that_may_not_be_executed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "_DATA", tmp_path)
    with pytest.raises(Failure, match="make setup"):
        launcher.find("x86_64")
    path = tmp_path / "scmm-enforce.x86_64"
    path.touch(0o644)
    path.chmod(0o644)
    with pytest.raises(Failure, match="may not be executed"):
        launcher.find("x86_64")
    path.chmod(0o755)
    assert launcher.find("x86_64") == path


def test_what_an_environment_can_hold(monkeypatch):
    """Bytes that are no text and values with ``=``; a variable without a name can be handed on by nobody."""
    strange = {b"ONE": b"\xff=\xfe", b"\xff": b"", b"": b"x"}
    monkeypatch.setattr(os, "environb", strange)
    found = launcher.environment()
    assert found == {b"ONE": b"\xff=\xfe", b"\xff": b""}
    with pytest.raises(ValueError, match="illegal environment variable name"):
        os.execve("/nothing", ["nothing"], strange)
    with pytest.raises(FileNotFoundError):
        os.execve("/nothing", ["nothing"], found)


def test_a_policy_that_cannot_be_handed_over(monkeypatch):
    def refused(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", refused)
    with pytest.raises(Failure, match="the compiled policy cannot be handed to the launcher: Function not implemented"):
        launcher.become(launcher.find(MACHINE), ["--", "true"], b"x")
