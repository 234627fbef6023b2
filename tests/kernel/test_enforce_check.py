"""--check of the launcher: what it says is what comes of it, where an outer filter refuses calls too; its outputs."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import enforce
import pytest
from enforce import bytes_of, checked, path_rules, refusing, run, stored
from recording import as_from_a_shell

from scmm_oci.policy.model import (
    Action,
    LandlockScope,
    Network,
    NetworkRule,
    OnMissing,
    PathRule,
    Policy,
    PortRange,
    Protocol,
    RunAs,
    Settings,
    SyscallRule,
)
from scmm_oci.tables.arch import Arch

HERE = Arch.X86_64 if os.uname().machine == "x86_64" else Arch.AARCH64


@pytest.fixture(autouse=True, scope="module")
def _kernel() -> None:
    enforce.needed()


@pytest.fixture
def place() -> Any:
    with enforce.place() as directory:
        yield directory


def whole(place: Path) -> bytes:
    """Something of every layer."""
    policy = Policy(
        settings=Settings(default_action=Action.ALLOW, arch=HERE, architectures=(HERE,), run_as=RunAs(33, 33)),
        syscalls=(SyscallRule("getppid", Action.DENY),),
        filesystem=path_rules([PathRule(f"{place}/made/**", ("make_reg",), on_missing=OnMissing.PRECREATE)]),
        scopes=(LandlockScope.SIGNAL,),
    )
    return bytes_of(policy)


REFUSED = [
    ("prctl", errno.EPERM, 38, "no-new-privileges cannot be set: EPERM", {"calls", "files", "scopes", "identity"}),
    ("landlock_create_ruleset", errno.EPERM, None, None, {"files", "scopes"}),
    ("landlock_add_rule", errno.ENOMEM, None, "files: ", {"files"}),
    (
        *("landlock_restrict_self", errno.EPERM, None),
        *("the kernel refuses the Landlock domain: EPERM", {"files", "scopes"}),
    ),
    (
        *("landlock_restrict_self", errno.E2BIG, None),
        *("there are as many Landlock domains as the kernel allows already: E2BIG", {"files", "scopes"}),
    ),
    ("setgroups", errno.EPERM, None, "identity: supplementary groups cannot be dropped: EPERM", {"identity"}),
    ("setresgid", errno.EPERM, None, "identity: cannot become the group: EPERM", {"identity"}),
    ("setresuid", errno.EAGAIN, None, "identity: cannot become the user: EAGAIN", {"identity"}),
    ("seccomp", errno.EINVAL, None, "calls: the kernel refuses the filter: EINVAL", {"calls"}),
]


@pytest.mark.parametrize(("name", "answer", "first", "why", "layers"), REFUSED)
def test_check_says_what_the_kernel_will_refuse(
    place: Path, name: str, answer: int, first: int | None, why: str | None, layers: set[str]
) -> None:
    """And where nothing is run then, nothing is."""
    policy, before = whole(place), refusing(name, answer, first)
    found = checked(policy, before=before)
    assert found.code == 1
    assert found.status is not None
    assert {one for one, degree in found.status["layers"].items() if degree == "not"} == layers
    assert why is None or any(one.startswith(why) for one in found.missing)
    assert not (place / "made").exists(), "--check has made something"
    done = run(policy, "nnp", before=before)
    # Only Landlock that is not there at all is no reason to run nothing in standard mode.
    if name == "landlock_create_ruleset":
        assert (done.code, done.lines, done.status) == (0, ["1 ok"], found.status)
    else:
        assert (done.code, done.lines) == (125, [])
        assert done.errors.endswith("the policy cannot be applied here: nothing is run\n")
    strict = run(policy, "nnp", mode="strict", before=before)
    assert (strict.code, strict.lines) == (125, [])


def test_check_says_fully_where_nothing_is_refused(place: Path) -> None:
    """The control of the one before: and the run says the same."""
    policy = whole(place)
    found = checked(policy)
    assert (found.code, found.missing) == (0, [])
    assert not (place / "made").exists(), "--check has made something"
    done = run(policy, "nnp", mode="strict")
    assert done.lines == ["1 ok"]
    assert done.status is not None and found.status is not None
    assert done.status["layers"] == found.status["layers"]
    assert (place / "made").exists()


def test_a_port_that_the_kernel_refuses_is_no_port(place: Path) -> None:
    ports = Network(outbound=(NetworkRule(Protocol.TCP, ports=(PortRange(1, 2),)),))
    policy = bytes_of(files={place: ["make_dir"]}, network=ports)
    before = refusing("landlock_add_rule", errno.ENOMEM, 2, at=1)
    found = checked(policy, before=before)
    assert found.status is not None
    assert (found.code, found.missing) == (1, ["ports: the kernel refuses a rule: ENOMEM"])
    assert (found.status["layers"]["files"], found.status["layers"]["ports"]) == ("fully", "not")
    done = run(policy, "mkdir", place / "new", before=before)
    assert (done.code, done.lines, os.listdir(place)) == (125, [], [])
    assert run(policy, "mkdir", place / "new").lines == ["ok"]


def test_a_directory_that_cannot_be_read_to_its_end_is_said(place: Path) -> None:
    """Of a pattern some matches would be missing, in silence."""
    (place / "file").write_text("x")
    policy = bytes_of(files={f"{place}/*": ["read_file"]})
    done = run(policy, "nnp", before=refusing("getdents64", errno.EIO))
    assert done.missing == [f"files: {place}/* is left out, as it cannot be opened: EIO"]
    assert run(policy, "nnp", mode="strict", before=refusing("getdents64", errno.EIO)).code == 125
    assert run(policy, "nnp", mode="strict").code == 0


def test_many_patterns_need_few_descriptors(place: Path) -> None:
    for number in range(40):
        (place / f"{number}/x").mkdir(parents=True)
    rules = [PathRule(f"{place}/*/{letter}*", ("read_file",)) for letter in "xyz"]
    limit = (resource.RLIMIT_NOFILE, (12, 12))
    done = run(bytes_of(files=rules), "nnp", mode="strict", preexec_fn=lambda: resource.setrlimit(*limit))
    assert (done.code, done.missing) == (0, [])


@pytest.mark.parametrize("proc", ["there", "hidden"])
def test_descriptors_are_closed_where_no_call_closes_them_all(place: Path, proc: str) -> None:
    hidden = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh") if proc == "hidden" else ()
    words = ("/bin/bash", "-c", 'exec 7</dev/null 900</dev/null; exec "$@"', "bash")
    policy = bytes_of(scopes=(LandlockScope.SIGNAL,))
    before = (*hidden, *refusing("close_range", errno.ENOSYS), *words)
    for free in ("", "7 900 "):
        # The control: without the launcher they are there.
        how: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, "check": False}
        if free:
            command = [*before, str(enforce.acts()), "fds"]
        else:
            command = [*before, str(enforce.launcher()), "-p", str(stored(policy)), "--", str(enforce.acts()), "fds"]
        assert subprocess.run(command, **how).stdout.endswith(f"0 1 2 {free}ok\n"), free


def test_check_counts_domains(place: Path) -> None:
    policy = stored(bytes_of(scopes=(LandlockScope.SIGNAL,)))
    one = (enforce.launcher(), "-p", policy, "-m", "strict", "--preserve-fds", "1000", "--")
    codes = {}
    for count in (15, 16):
        command = [str(word) for word in (*one * count, enforce.launcher(), "-p", policy, "--check")]
        codes[count] = subprocess.run(command, capture_output=True, timeout=60, check=False).returncode
    assert codes == {15: 0, 16: 1}


def test_check_works_under_the_narrowest_policy(place: Path) -> None:
    """What is tried may forbid the words that tell of it."""
    names = ("execve", "exit_group")
    policy = Policy(
        settings=Settings(default_action=Action.KILL, arch=HERE, architectures=(HERE,)),
        syscalls=tuple(SyscallRule(name, Action.ALLOW) for name in names),
    )
    assert checked(bytes_of(policy)).code == 0


def test_a_filter_that_is_refused_after_the_status_was_told_is_told_too(place: Path) -> None:
    """The last line is what holds."""
    policy = stored(whole(place))
    read_end, write_end = os.pipe()
    command = [
        *(*refusing("seccomp", errno.EINVAL), enforce.launcher(), "-p", policy, "--status-fd", write_end),
        *("--", enforce.acts(), "nnp"),
    ]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, pass_fds=(write_end,), timeout=60, check=False
    )
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        told = [json.loads(line) for line in pipe]
    assert (done.returncode, done.stdout) == (125, b"")
    assert [one["layers"]["calls"] for one in told] == ["fully", "not"]


def test_check_without_another_process_fails(place: Path) -> None:
    done = subprocess.run(
        [*refusing("clone", errno.EAGAIN), enforce.launcher(), "-p", stored(whole(place)), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == "scmm-enforce: no process to try it: EAGAIN\n"


def test_strict_that_refuses_makes_nothing(place: Path) -> None:
    """What this kernel lacks is known before anything is done."""
    rules = path_rules([PathRule(f"{place}/made/**", ("make_reg",), on_missing=OnMissing.PRECREATE)])
    lacking = bytes_of(files=rules, capabilities=("CAP_SYS_TIME",))
    without = ("setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time", "--no-new-privs")
    assert run(lacking, "nnp", mode="strict", before=without).code == 125
    assert not (place / "made").exists()
    assert run(bytes_of(files=rules), "nnp", mode="strict", before=without).code == 0
    assert (place / "made").exists()


@pytest.mark.parametrize("options", [("--check",), ("--check", "--json"), ("--check", "--mode", "permissive"), ("-h",)])
@pytest.mark.parametrize("target", ["full", "closed"])
def test_what_cannot_be_written_is_no_success(place: Path, options: tuple[str, ...], target: str) -> None:
    command = [str(enforce.launcher()), "-p", str(stored(whole(place))), *options]
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        how: dict[str, Any] = {"stdout": full} if target == "full" else {"preexec_fn": lambda: os.close(1)}
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **how)
    finally:
        os.close(full)
    name = "ENOSPC" if target == "full" else "EBADF"
    assert (done.returncode, done.stderr.splitlines()[-1].split(": ")[-1]) == (125, name)
    # The control: it is what could not be written.
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode in (0, 1)


def test_a_message_that_nobody_reads_ends_nothing_and_a_status_does(place: Path) -> None:
    """And the program has the signals as they were: SIGPIPE is not ignored in it."""
    policy = stored(bytes_of(files={place: ["make_dir"]}))
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [enforce.launcher(), "-p", policy, "-m", "seccomp", "--", "sh", "-c", "kill -PIPE $$; echo left"]
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "timeout": 60, "check": False}
    how = {**how, "preexec_fn": as_from_a_shell, "pass_fds": (write_end,)}
    done = subprocess.run([str(word) for word in command], stderr=write_end, **how)
    assert (done.returncode, done.stdout) == (-signal.SIGPIPE, b"")
    ignoring = ["sh", "-c", 'trap "" PIPE; exec "$@"', "sh", *map(str, command)]
    assert subprocess.run(ignoring, stderr=write_end, **how).stdout == b"left\n"
    command[5:5] = ["--status-fd", write_end]
    done = subprocess.run([str(word) for word in command], stderr=subprocess.PIPE, **how)
    os.close(write_end)
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.endswith(b"the status cannot be written to its descriptor: EPIPE\n")


@pytest.mark.parametrize("mode", ["standard", "strict", "seccomp", "permissive"])
@pytest.mark.parametrize("target", ["/dev/full", "/dev/null"])
def test_without_its_status_nothing_is_run(place: Path, mode: str, target: str) -> None:
    """Who asks what holds does not want the program without an answer. /dev/null is the control."""
    policy = stored(bytes_of(files={place: ["make_dir"]}))
    fd = os.open(target, os.O_WRONLY)
    command = [enforce.launcher(), "-p", policy, "-m", mode, "--status-fd", fd, "--", enforce.acts(), "mkdir"]
    done = subprocess.run(
        [str(word) for word in (*command, place / "new")],
        capture_output=True,
        text=True,
        pass_fds=(fd,),
        timeout=60,
        check=False,
    )
    os.close(fd)
    if target == "/dev/null":
        assert (done.returncode, done.stdout, os.listdir(place)) == (0, "ok\n", ["new"])
    else:
        assert (done.returncode, done.stdout, os.listdir(place)) == (125, "", [])
        assert done.stderr.endswith("the status cannot be written to its descriptor: ENOSPC\n")
