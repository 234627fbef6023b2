"""Traces of the real strace: what it is told to print must not change what a program is seen to do."""

import json
import os
import shutil
import subprocess

import naive_order
import pytest
from naive_order import from_the_program, naive

from scmm_oci.capture import file
from scmm_oci.capture.facts import PathState
from scmm_oci.capture.model import LossKind, Phase
from scmm_oci.capture.strace.importer import Log, import_logs
from scmm_oci.capture.strace.lexer import lines
from scmm_oci.cli.main import import_strace

SCRIPT = """
trap 'echo caught' USR1
cd sub
cat here
kill -USR1 $$
(cd ..; ls -l sub; rm -f gone) | sort
echo x >made
"""

VARIANTS = {
    "-f": ["-f"],
    "-f -y": ["-f", "-y"],
    "-f -yy -ttt -T": ["-f", "-yy", "-ttt", "-T"],
    "-f -r": ["-f", "-r"],
    "-f -n -i": ["-f", "-n", "-i"],
    "-f -X raw": ["-f", "-X", "raw"],
    "-f -v -X verbose": ["-f", "-v", "-X", "verbose"],
    "-f -xx": ["-f", "-xx"],
    "-ff": ["-ff"],
    "-ff -ttt -y": ["-ff", "-ttt", "-y"],
}


def unavailable():
    """Why strace cannot be used here, or None."""
    if shutil.which("strace") is None:
        return "there is no strace"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, timeout=60)
    return None if tried.returncode == 0 else f"strace does not work: {tried.stderr.strip()[:200]}"


@pytest.fixture(scope="module", autouse=True)
def _strace():
    reason = unavailable()
    if reason is not None:
        # Set-up installs it, so that in CI its absence is an error.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def trace(directory, options, command):
    """The capture of a command in a directory that is the same each time."""
    work = directory / "work"
    shutil.rmtree(work, ignore_errors=True)
    (work / "sub").mkdir(parents=True)
    (work / "sub" / "here").write_text("here\n")
    (work / "gone").write_text("")
    for old in directory.glob("trace*"):
        old.unlink()
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    subprocess.run(
        ["strace", *options, "-o", directory / "trace", *command],
        cwd=work, env=environment, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    paths = sorted(directory.glob("trace*"))
    files = [path.open("rb") for path in paths]
    try:
        logs = [
            Log(path.name, lines(opened), int(path.suffix[1:]) if path.suffix else None)
            for path, opened in zip(paths, files, strict=True)
        ]
        return import_logs(logs, name="t", cwd=os.fspath(work))
    finally:
        for opened in files:
            opened.close()


def counts(capture):
    # A shell waits as often as it is interrupted, and its threads' calls of this kind depend on time.
    varying = {"wait4", "rt_sigreturn", "restart_syscall", "read"}
    return {
        call.name: (call.entered, call.succeeded, call.errnos)
        for _, call in capture.calls(Phase.APP)
        if call.name not in varying
    }


def names(capture):
    return {(use.operation, use.path) for use in capture.files if use.state is PathState.NAMED and use.failed}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return trace(tmp_path_factory.mktemp("strace"), ["-f"], ["sh", "-c", SCRIPT])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_script_is_the_same_however_it_is_traced(variant, plain, tmp_path_factory):
    directory = tmp_path_factory.mktemp("strace")
    capture = trace(directory, VARIANTS[variant], ["sh", "-c", SCRIPT])
    assert file.parse(file.dump(capture)) == capture
    assert counts(capture) == counts(plain)
    assert {(one.path, one.argv0, one.count) for one in capture.programs} == {
        (one.path, one.argv0, one.count) for one in plain.programs
    }
    assert {one.argv0 for one in capture.programs} == {"sh", "cat", "ls", "rm", "sort"}
    opened = {use.path.removeprefix(os.fspath(directory)): use for use in capture.files if use.operation == "open"}
    assert opened["/work/sub/here"].access == ("read_file",)
    assert opened["/work/sub/made"].parent_access == ("make_reg",)
    removed = [use for use in capture.files if use.operation == "unlink"]
    assert {use.path.removeprefix(os.fspath(directory)) for use in removed} <= {"/work/gone", "/work/sub/../gone"}
    assert [use.parent_access for use in removed] == [("remove_file",)]
    assert {loss.kind for loss in capture.losses} == set(), capture.losses
    assert {(one.name, one.indexes, one.values) for one in capture.arguments if one.name in ("openat", "mmap")} == {
        (one.name, one.indexes, one.values) for one in plain.arguments if one.name in ("openat", "mmap")
    }


def test_the_machine_of_calls_is_the_same_however_it_is_traced(tmp_path_factory):
    directory = tmp_path_factory.mktemp("strace")
    command = ["cat", "sub/here"]
    (order,) = {trace(directory, options, command).order for options in VARIANTS.values()}
    # And it is what can be read off the plain trace, with the strace of today.
    capture = trace(directory, VARIANTS["-f"], command)
    found = naive((directory / "trace").read_text())
    assert capture.order == order and naive_order.plain(capture) == from_the_program(found)
    assert {("read", "write"), ("write", "read")} < found


def test_resolved_paths_are_those_of_y(tmp_path_factory):
    directory = tmp_path_factory.mktemp("strace")
    states = {}
    for options in (["-f"], ["-f", "-y"]):
        capture = trace(directory, options, ["ls", "-l", "/"])
        states[len(options)] = {
            use.state for use in capture.files if use.operation == "open" and use.succeeded and use.path != "/"
        }
        assert ("/", ("read_dir",)) in {(use.path, use.access) for use in capture.files if use.operation == "open"}
    assert states == {1: {PathState.NAMED}, 2: {PathState.RESOLVED}}


def test_without_f_children_are_missing(tmp_path_factory):
    directory = tmp_path_factory.mktemp("strace")
    alone = trace(directory, [], ["sh", "-c", SCRIPT])
    assert LossKind.UNFOLLOWED in {loss.kind for loss in alone.losses}
    assert {one.argv0 for one in alone.programs} == {"sh"}
    filtered = trace(directory, ["-f", "-e", "trace=openat,execve"], ["sh", "-c", SCRIPT])
    assert LossKind.FILTERED in {loss.kind for loss in filtered.losses}


def test_the_command(tmp_path, capfd):
    trace(tmp_path, ["-f", "-y"], ["ls"])
    output = tmp_path / "ls.scmm-cap"
    assert import_strace([os.fspath(tmp_path / "trace"), "-o", os.fspath(output), "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["complete"] is True
    assert "system calls" in err
    capture = file.read(output)
    assert (capture.name, capture.complete) == ("trace", True)
    again = tmp_path / "again.scmm-cap"
    assert import_strace([os.fspath(tmp_path / "trace"), "-o", os.fspath(again), "--name", "trace"]) == 0
    assert again.read_bytes() == output.read_bytes()
    (tmp_path / "bad").write_text("nothing of strace\n")
    assert import_strace([os.fspath(tmp_path / "bad"), "-o", os.fspath(tmp_path / "none")]) == 2
    assert "line 1: is not a line of strace" in capfd.readouterr().err
    assert not (tmp_path / "none").exists()
    assert import_strace([os.fspath(tmp_path / "trace"), "-o", os.fspath(tmp_path / "trace")]) == 2
