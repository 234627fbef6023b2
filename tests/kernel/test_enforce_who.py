"""Who the launcher makes of a program: ids, groups and capabilities, as the program itself finds them."""

from __future__ import annotations

import os
from pathlib import Path

import enforce
import pytest
from enforce import bytes_of, checked, refusing, run

from scmm_oci.compiled.identity import CAPABILITY_BITS, capability_mask
from scmm_oci.policy.model import LandlockScope, RunAs

WWW = 33
CHOWN, BIND, RAW = "CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"


@pytest.fixture(autouse=True, scope="module")
def kernel() -> None:
    enforce.needed()


def sets(*masks: int) -> str:
    return " ".join(f"{one:x}" for one in masks) + " ok"


def mine() -> dict[str, int]:
    """This process's own sets, by their names in /proc."""
    found = Path("/proc/self/status").read_text()
    return {line[:6]: int(line.split()[1], 16) for line in found.splitlines() if line.startswith("Cap")}


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (RunAs(WWW, WWW + 1), f"{WWW} {WWW} {WWW} {WWW + 1} {WWW + 1} {WWW + 1} 0 ok"),
        # Of a user without a group it is the one in /etc/passwd.
        (RunAs(WWW, None), f"{WWW} {WWW} {WWW} {WWW} {WWW} {WWW} 0 ok"),
        (RunAs(None, WWW), f"0 0 0 {WWW} {WWW} {WWW} 0 ok"),
        (RunAs(0, 0), "0 0 0 0 0 0 0 ok"),
        (RunAs(0xFFFFFFFE, 0xFFFFFFFE), " ".join(["4294967294"] * 6) + " 0 ok"),
        (None, "0 0 0 0 0 0 3 ok"),
    ],
)
def test_ids_and_groups(who: RunAs | None, expected: str) -> None:
    grouped = ("setpriv", "--groups", "4,24,27")
    policy = bytes_of(run_as=who, capabilities=None if who else ("CAP_CHOWN",))
    done = run(policy, "ids", before=grouped, mode="strict")
    assert (done.code, done.lines, done.errors) == (0, [expected], "")
    if who is not None and who.uid:
        # For good.
        assert run(policy, "setuid", 0, before=grouped).lines == ["EPERM"]


def test_a_user_without_a_group_that_nobody_knows_keeps_the_group_and_that_is_said() -> None:
    policy = bytes_of(run_as=RunAs(54321, None))
    assert run(policy, "ids", mode="strict").code == 125
    done = run(policy, "ids")
    assert done.lines == ["54321 54321 54321 0 0 0 0 ok"] and "the group stays" in done.errors
    assert done.status is not None and done.status["layers"]["identity"] == "partially"
    assert checked(policy).code == 1


@pytest.mark.parametrize("names", [None, ()])
def test_capabilities_of_the_caller_do_not_come_along_with_another_user(names: tuple[str, ...] | None) -> None:
    """Ambient ones survive setresuid(2) where securebits say so, or where the caller is that user already."""
    keeping = ("setpriv", "--inh-caps", "+setuid,+setgid", "--ambient-caps", "+setuid,+setgid")
    fixed = ("--securebits", "+no_setuid_fixup")
    policy = bytes_of(run_as=RunAs(WWW, WWW), capabilities=names)
    # The control: without a policy's user they are there.
    control = run(
        bytes_of(scopes=[LandlockScope.SIGNAL]),
        "caps",
        before=(*keeping, "--reuid", WWW, "--regid", WWW, "--clear-groups"),
    )
    assert control.lines and control.lines[0].split()[0] != "0"
    for before in (keeping, (*keeping, *fixed), (*keeping, "--reuid", WWW, "--regid", WWW, "--clear-groups")):
        done = run(policy, "caps", before=before, mode="strict")
        assert (done.code, done.lines[0].split()[:3]) == (0, ["0", "0", "0"]), before
        assert run(policy, "setuid", 0, before=before, mode="strict").lines == ["EPERM"]


def test_files_are_refused_to_who_it_is_now(place: Path) -> None:
    (place / "roots").mkdir(mode=0o700)
    tried = ("create", place / "roots/new", "create", "/proc/self/new", "mkdir", place / "new")
    assert run(bytes_of(run_as=RunAs(WWW, WWW)), *tried).lines == ["EACCES", "ENOENT", "EACCES"]
    assert os.listdir(place / "roots") == []
    assert run(bytes_of(run_as=RunAs(0, 0)), *tried).lines == ["ok", "ENOENT", "ok"]


@pytest.mark.parametrize("who", [None, RunAs(0, 0), RunAs(WWW, WWW)])
@pytest.mark.parametrize("names", [(), (CHOWN,), (CHOWN, BIND, RAW)])
def test_a_program_keeps_exactly_these_capabilities(who: RunAs | None, names: tuple[str, ...]) -> None:
    mask = capability_mask(names)
    policy = bytes_of(run_as=who, capabilities=names)
    done = run(policy, "caps", mode="strict")
    assert (done.code, done.lines, done.errors) == (0, [sets(*[mask] * 5)], "")


def test_capabilities_work_and_others_do_not(place: Path) -> None:
    tried = ("mkchr", place / "device", "setuid", 0)
    policy = bytes_of(run_as=RunAs(WWW, WWW), capabilities=("CAP_MKNOD", "CAP_DAC_OVERRIDE"))
    assert run(policy, *tried).lines == ["ok", "EPERM"]
    (place / "device").unlink()
    policy = bytes_of(run_as=RunAs(WWW, WWW), capabilities=("CAP_SETUID", "CAP_DAC_OVERRIDE"))
    assert run(policy, *tried).lines == ["EPERM", "ok"]
    assert os.listdir(place) == []
    # Root without them, and root with all.
    assert run(bytes_of(capabilities=()), *tried).lines == ["EPERM", "ok"]
    assert run(bytes_of(run_as=RunAs(0, 0)), *tried).lines == ["ok", "ok"]


def test_ids_alone_take_all_capabilities_from_other_users() -> None:
    have = mine()
    done = run(bytes_of(run_as=RunAs(WWW, WWW)), "caps", mode="strict")
    assert done.lines == [sets(0, 0, 0, have["CapBnd"], 0)]
    done = run(bytes_of(run_as=RunAs(0, 0)), "caps", mode="strict")
    assert done.lines == [sets(have["CapBnd"], have["CapBnd"], 0, have["CapBnd"], 0)]


def test_nothing_is_run_where_the_ids_cannot_be_had(place: Path) -> None:
    os.chmod(place, 0o777)
    as_www = ("setpriv", "--reuid", str(WWW), "--regid", str(WWW), "--clear-groups")
    for who in (RunAs(0, 0), RunAs(WWW + 1, WWW), RunAs(WWW, WWW + 1), RunAs(None, 0)):
        policy = bytes_of(run_as=who)
        for mode in ("standard", "strict"):
            done = run(policy, "mkdir", place / "new", before=as_www, mode=mode)
            assert (done.code, done.lines, os.listdir(place)) == (125, [], []), who
            assert "nothing is run" in done.errors
        found = checked(policy, before=as_www)
        assert found.status is not None
        assert (found.code, found.status["layers"]["identity"]) == (1, "not")
    # Who it is already needs no privilege.
    done = run(bytes_of(run_as=RunAs(WWW, WWW)), "mkdir", place / "new", before=as_www, mode="strict")
    assert (done.code, done.lines, os.listdir(place)) == (0, ["ok"], ["new"])


def test_groups_that_stay_are_said(place: Path) -> None:
    grouped = ("setpriv", "--reuid", str(WWW), "--regid", str(WWW), "--groups", "4")
    policy = bytes_of(run_as=RunAs(WWW, WWW))
    done = run(policy, "ids", before=grouped)
    reason = "identity: supplementary groups stay, as this user cannot drop them"
    assert (done.code, done.missing) == (0, [reason])
    assert done.lines == [f"{WWW} {WWW} {WWW} {WWW} {WWW} {WWW} 1 ok"]
    assert checked(policy, before=grouped).status == done.status
    assert run(policy, before=grouped, mode="strict").code == 125


@pytest.mark.parametrize(("mode", "owner"), [(0o666, 0), (0o664, 0), (0o644, WWW)])
def test_users_that_others_could_write_are_none(place: Path, mode: int, owner: int) -> None:
    """Who may write /etc/passwd would choose the group and the home."""
    file = place / "passwd"
    file.write_text(f"root:x:0:0::/root:/bin/sh\nsome:x:{WWW}:42::{place}:/bin/sh\n")
    mount = ("unshare", "-m", "sh", "-c", f'mount --bind {file} /etc/passwd && exec "$@"', "sh")
    policy = bytes_of(run_as=RunAs(WWW, None))
    assert run(policy, "ids", before=mount, mode="strict").lines == [f"{WWW} {WWW} {WWW} 42 42 42 0 ok"]
    file.chmod(mode)
    os.chown(file, owner, owner)
    done = run(policy, "ids", before=mount)
    assert done.lines == [f"{WWW} {WWW} {WWW} 0 0 0 0 ok"]
    assert done.status is not None and done.status["layers"]["identity"] == "partially"
    assert run(policy, before=mount, mode="strict").code == 125


def test_groups_are_looked_at_after_they_were_dropped() -> None:
    """An outer filter can answer in the kernel's place."""
    answers = refusing("setgroups", 0)
    grouped = ("setpriv", "--groups", "4,27", "--")
    done = run(bytes_of(run_as=RunAs(WWW, WWW)), "ids", before=(*grouped, *answers))
    assert (done.code, done.lines) == (125, [])
    assert run(bytes_of(run_as=RunAs(WWW, WWW)), "ids", before=grouped).code == 0


def test_the_group_a_second_time_is_no_other() -> None:
    """As engines give it to who is USER of an image."""
    same = ("setpriv", "--reuid", str(WWW), "--regid", str(WWW), "--groups", str(WWW))
    done = run(bytes_of(run_as=RunAs(WWW, WWW)), "ids", before=same, mode="strict")
    assert (done.code, done.missing) == (0, [])
    more = (*same[:-1], f"{WWW},4")
    assert run(bytes_of(run_as=RunAs(WWW, WWW)), "ids", before=more, mode="strict").code == 125


def test_capabilities_that_nobody_has_here_are_said() -> None:
    """What is lacking cannot be kept; the program has what there is of the policy's."""
    less = ("setpriv", "--bounding-set=-all,+chown", "sh", "-c", 'exec "$@"', "sh")
    policy = bytes_of(capabilities=(CHOWN, BIND))
    done = run(policy, "caps", before=less)
    chown = CAPABILITY_BITS[CHOWN]
    assert (done.code, done.lines) == (0, [sets(*[chown] * 5)])
    assert done.missing == ["identity: this process has not, and so the program cannot keep: CAP_NET_BIND_SERVICE"]
    assert checked(policy, before=less).status == done.status
    assert run(policy, before=less, mode="strict").code == 125


def test_each_capability_that_lacks_is_named() -> None:
    none = ("setpriv", "--bounding-set=-all", "sh", "-c", 'exec "$@"', "sh")
    found = checked(bytes_of(capabilities=tuple(CAPABILITY_BITS)), before=none)
    assert found.missing == [
        f"identity: this process has not, and so the program cannot keep: {', '.join(CAPABILITY_BITS)}"
    ]


def test_who_cannot_reduce_the_bounding_set_gets_nothing_from_it() -> None:
    """Without CAP_SETPCAP. To programs of root's execve gives what is bounding, but for no-new-privileges."""
    less = ("setpriv", "--bounding-set=-all,+chown,+net_raw", "sh", "-c", 'exec "$@"', "sh")
    chown, both = CAPABILITY_BITS[CHOWN], CAPABILITY_BITS[CHOWN] | CAPABILITY_BITS[RAW]
    done = run(bytes_of(capabilities=(CHOWN,)), "caps", before=less, mode="strict")
    assert (done.code, done.lines) == (0, [sets(chown, chown, chown, both, chown)])
    done = run(bytes_of(capabilities=()), "caps", before=less, mode="strict")
    assert (done.code, done.lines) == (0, [sets(0, 0, 0, both, 0)])
    # The control: this one has both.
    assert run(bytes_of(scopes=tuple(LandlockScope)), "caps", before=less).lines == [sets(both, both, 0, both, 0)]
