"""The launcher where /etc/passwd is not as it should be, and where an outer filter answers instead of the kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import enforce
import pyseccomp
import pytest
from enforce import Done, bytes_of, run

from scmm_oci.policy.model import Action, PathRule, Policy, RunAs, Settings, SyscallRule

#: A user that no image knows, and the group that a line gives it.
UID, GID = 54321, 54322


@pytest.fixture(autouse=True, scope="module")
def kernel() -> None:
    enforce.needed()


def with_passwd(place: Path, text: str, policy: bytes, *words: object, mode: str = "standard") -> Done:
    """Run with this text as /etc/passwd, in mounts of its own."""
    (place / "passwd").write_text(text)
    mount = ("unshare", "-m", "sh", "-c", f'mount --bind {place}/passwd /etc/passwd && exec "$@"', "sh")
    return run(policy, *words, mode=mode, before=mount)


GOOD = f"user:x:{UID}:{GID}::/tmp:/bin/sh"


@pytest.mark.parametrize(
    "text",
    [
        f"{GOOD}\n",
        # Files that are written by hand often lack the last line's end.
        GOOD,
        # The first line counts.
        f"{GOOD}\nuser:x:{UID}:0::/tmp:/bin/sh\n",
        # Lines that do not fit are none; what follows them is.
        f"{'#' * 8192}user:x:{UID}:0::/tmp:/bin/sh\n{GOOD}\n",
        f"{'#' * 20000}\n{GOOD}",
        # A name that is no component of a path.
        f"a/b:x:{UID}:0::/tmp:/bin/sh\n{GOOD}\n",
        f":x:{UID}:0::/tmp:/bin/sh\n{GOOD}\n",
    ],
)
def test_the_group_of_a_user_is_that_of_its_line(place: Path, text: str) -> None:
    done = with_passwd(place, text, bytes_of(run_as=RunAs(UID, None)), "ids", mode="strict")
    assert (done.code, done.lines) == (0, [f"{UID} {UID} {UID} {GID} {GID} {GID} 0 ok"])


@pytest.mark.parametrize(
    "line",
    [
        # 'A' is 17 more than '0', and 2⁶⁴ more is none.
        "user:x:A:5::/tmp:/bin/sh",
        f"user:x:{2**64 + 17}:5::/tmp:/bin/sh",
        "user:x:17:A::/tmp:/bin/sh",
        f"user:x:17:{2**32 - 1}::/tmp:/bin/sh",
        f"user:x:17:{2**64 + 5}::/tmp:/bin/sh",
        "user:x:17:5:/tmp",
        "user:x:17::/tmp:/bin/sh",
        f"{'#' * 9000}user:x:17:5::/tmp:/bin/sh",
        f"{'u' * 256}:x:17:5::/tmp:/bin/sh",
        "..:x:17:5::/tmp:/bin/sh",
    ],
)
def test_a_line_that_is_none_gives_no_group(place: Path, line: str) -> None:
    policy = bytes_of(run_as=RunAs(17, None))
    assert with_passwd(place, line, policy, "ids", mode="strict").code == 125
    done = with_passwd(place, line, policy, "ids")
    assert done.lines == ["17 17 17 0 0 0 0 ok"] and "the group stays" in done.errors


def test_who_is_that_user_already_needs_no_group(place: Path) -> None:
    as_user = ("setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups")
    done = run(bytes_of(run_as=RunAs(UID, None)), "ids", mode="strict", before=as_user)
    assert (done.code, done.lines) == (0, [f"{UID} {UID} {UID} {GID} {GID} {GID} 0 ok"])


@pytest.mark.parametrize(("home", "answer"), [("{place}/home", "ok"), ("tmp", "EACCES"), ("", "EACCES")])
def test_a_home_is_an_absolute_path(place: Path, home: str, answer: str) -> None:
    (place / "home").mkdir()
    (place / "home/file").write_text("text")
    relative = str(place / "home").removeprefix("/")
    line = f"root:x:0:0::{relative if home == 'tmp' else home.format(place=place)}:/bin/sh\n"
    policy = bytes_of(files=[PathRule("${HOME}/file", ("read_file",))])
    assert with_passwd(place, line, policy, "read", place / "home/file").lines == [answer]


def test_capabilities_beyond_the_first_word() -> None:
    policy = bytes_of(run_as=RunAs(UID, GID), capabilities=("CAP_CHECKPOINT_RESTORE", "CAP_PERFMON"))
    mask = f"{1 << 40 | 1 << 38:x}"
    done = run(policy, "caps", mode="strict")
    assert (done.code, done.lines) == (0, [" ".join([mask] * 5) + " ok"])


def lying(*calls: str, errno: int = 0) -> Callable[[], None]:
    """For preexec_fn: an outer filter that answers these calls with an errno, or as if they had been done."""

    def load() -> None:
        found = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        found.set_attr(pyseccomp.Attr.CTL_NNP, 0)
        for call in calls:
            found.add_rule(pyseccomp.ERRNO(errno), call)
        found.load()

    return load


@pytest.mark.parametrize(
    ("call", "policy"),
    [
        ("setresuid", {"run_as": RunAs(UID, GID)}),
        ("setresgid", {"run_as": RunAs(UID, GID)}),
        ("capset", {"capabilities": ()}),
        ("capset", {"run_as": RunAs(0, 0), "capabilities": ("CAP_CHOWN",)}),
        ("landlock_create_ruleset", {"files": {"/tmp": ["read_file"]}}),
    ],
)
@pytest.mark.parametrize("errno", [0, 1])
def test_what_is_answered_and_not_done_is_found_out(call: str, policy: dict[str, object], errno: int) -> None:
    """As filters do that let builds believe they are root."""
    made = bytes_of(**policy)  # type: ignore[arg-type]
    done = run(made, "ids", mode="strict", preexec_fn=lying(call, errno=errno))
    assert (done.code, done.lines) == (125, [])
    # The control: a call that is not made.
    assert run(made, "exit", 7, mode="strict", preexec_fn=lying("chroot", errno=errno)).code == 7


def test_groups_that_cannot_be_dropped_end_it() -> None:
    policy = bytes_of(run_as=RunAs(UID, GID))
    done = run(policy, "ids", preexec_fn=lying("setgroups", errno=1))
    assert (done.code, done.lines) == (125, [])
    assert "supplementary groups cannot be dropped: EPERM" in done.errors


@pytest.mark.parametrize("bits", [0o020, 0o002])
def test_a_link_in_a_directory_that_either_may_write_is_left_out(place: Path, bits: int) -> None:
    (place / "file").write_text("text")
    (place / "links").mkdir()
    (place / "links/one").symlink_to(place / "file")
    policy = bytes_of(files={place / "links/one": ["read_file"]})
    (place / "links").chmod(0o755)
    assert run(policy, "read", place / "file", mode="strict").lines == ["ok"]
    (place / "links").chmod(0o755 | bits)
    assert run(policy, "read", place / "file", mode="strict").code == 125
    assert run(policy, "read", place / "file").lines == ["EACCES"]


def test_links_of_the_kernel_are_followed_whoever_made_them(place: Path) -> None:
    """Of procfs; a link of that name elsewhere is like any other."""
    policy = bytes_of(files={"/proc/mounts": ["read_file"]})
    done = run(policy, "read", "/proc/self/mounts", "read", "/proc/version", mode="strict")
    assert (done.code, done.lines) == (0, ["ok", "EACCES"])
    (place / "self").symlink_to("/etc")
    os.lchown(place / "self", UID, UID)
    done = run(bytes_of(files={place / "self/passwd": ["read_file"]}), "read", "/etc/passwd")
    assert done.lines == ["EACCES"] and "link which another user could change" in done.errors


def test_an_answer_that_only_logs_lets_the_launcher_say_why(place: Path) -> None:
    for action, heard in ((Action.LOG, True), (Action.ALLOW, True), (Action.DENY, False)):
        settings = Settings(default_action=Action.ALLOW, bad_arch_action=Action.ALLOW)
        rules = (SyscallRule("write", action), SyscallRule("chroot", Action.DENY))
        done = run(bytes_of(Policy(settings=settings, syscalls=rules)), program=place, mode="strict")
        assert (done.code, "cannot execute" in done.errors) == (126, heard), action
