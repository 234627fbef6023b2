"""Which files a policy's paths come to when the launcher opens them: links, patterns, variables, what is missing."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import enforce
import pytest
from enforce import acts, bytes_of, checked, run

from scmm_oci.compiled.polfile import write
from scmm_oci.compiled.polfile.model import (
    Component,
    ComponentKind,
    Identity,
    Metadata,
    Missing,
    PathKind,
    PolicyFile,
    Ruleset,
)
from scmm_oci.compiled.polfile.model import PathRule as CompiledPathRule
from scmm_oci.policy.model import OnMissing, PathRule, RunAs
from scmm_oci.tables import landlock

WWW = 33


@pytest.fixture(autouse=True, scope="module")
def kernel() -> None:
    enforce.needed()


def fill(place: Path, *names: str) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("content")


def reads(*paths: Path) -> list[object]:
    return [word for path in paths for word in ("read", path)]


def test_patterns(place: Path) -> None:
    fill(place, "a.log", "b.txt", ".c.log", "d.log/inner", "tree/deep/file", "x1/data/file", "x2/data", "y1/data")
    granted = {
        place / "*.log": ["read_file"],
        place / "tree/**": ["read_file"],
        place / "x[0-9]/data": ["read_file"],
    }
    tried = ("a.log", "b.txt", ".c.log", "d.log/inner", "tree/deep/file", "x1/data/file", "x2/data", "y1/data")
    done = run(bytes_of(files=granted), *reads(*(place / one for one in tried)), mode="strict")
    ok, no = "ok", "EACCES"
    assert (done.lines, done.missing) == ([ok, no, ok, no, ok, ok, ok, no], [])
    # What comes later is under a directory's rule, and under no pattern's.
    policy = bytes_of(files={place / "*.log": ["read_file"], place / "tree/**": ["read_file", "make_reg"]})
    done = run(policy, "create", place / "tree/new", "read", place / "tree/new", "create", place / "new.log")
    assert done.lines == [ok, ok, no]
    assert (place / "tree/new").exists() and not (place / "new.log").exists()


def test_paths_of_many_depths_and_kinds(place: Path) -> None:
    """Whatever comes after what: directories that paths have in common are kept open, and must be theirs."""
    names = ("a/b/c/file", "a/b/file", "a/file", "a/x/file", "b/c/file", "file", "ab/file")
    fill(place, *names)
    for rules, free in (
        (("a/b/c/file", "a/x/**", "a/file"), ("a/b/c/file", "a/x/file", "a/file")),
        (("a/b/c", "b/**", "ab"), ("a/b/c/file", "b/c/file", "ab/file")),
        (("a/b/*", "file", "b/c/f*"), ("a/b/file", "file", "b/c/file")),
        (("a/none/file", "a/b/none", "a/x/file", "none/**", "a/b/**"), ("a/x/file", "a/b/file", "a/b/c/file")),
    ):
        policy = bytes_of(files={place / one: ["read_file"] for one in rules})
        done = run(policy, *reads(*(place / one for one in names)), mode="strict")
        assert dict(zip(names, done.lines, strict=True)) == {one: "ok" if one in free else "EACCES" for one in names}


def test_beneath_is_no_rule_for_a_file(place: Path) -> None:
    fill(place, "file")
    for path, answer in ((place / "file/**", "EACCES"), (place / "file", "ok")):
        done = run(bytes_of(files={path: ["read_file"]}), "read", place / "file")
        assert done.lines == [answer]


def test_execute_and_read_dir_are_not_voided_by_what_is_above(place: Path) -> None:
    """The seed system granted these on every directory above a rule's path, and so everywhere."""
    shutil.copy(acts(), place / "other")
    fill(place, "mine/file")
    files = {place / "mine": ["read_file", "read_dir", "execute"], place / "other": ["read_file"]}
    tried = ("exec", place / "other", "list", place, "list", "/", "list", place / "mine", "exec", acts())
    done = run(bytes_of(files=files), *tried, mode="strict")
    assert done.lines == ["EACCES", "EACCES", "EACCES", "ok", "ok"]
    assert run(bytes_of(files=files), *tried, mode="seccomp").lines == ["ok"] * 5


def test_execute_holds_for_scripts_and_interpreters(place: Path) -> None:
    script = place / "script"
    script.write_text(f"#!{acts()}\n")
    script.chmod(0o755)
    copy = place / "interpreter"
    shutil.copy(acts(), copy)
    other = place / "other"
    other.write_text(f"#!{copy}\n")
    other.chmod(0o755)
    words = ["read_file", "execute"]
    # enforce_acts is given the script's name as its first word, and so ends with 99.
    for files, program, code in (
        ({script: words}, script, 99),
        ({script: ["read_file"]}, script, 126),
        ({script: ["execute"]}, script, 126),
        ({other: words}, other, 126),
        ({other: words, copy: ["read_file"]}, other, 126),
        ({other: words, copy: words}, other, 99),
    ):
        assert run(bytes_of(files=files), program=program).code == code, (files, program)


def test_a_device_that_is_opened_anew(place: Path) -> None:
    tried = ("ioctl", "/dev/urandom", "read", "/dev/urandom")
    granted = {"/dev/urandom": ["read_file", "ioctl_dev"]}
    assert run(bytes_of(files=granted), *tried, mode="strict").lines == ["ok", "ok"]
    assert run(bytes_of(files={"/dev/urandom": ["read_file"]}), *tried, mode="strict").lines == ["EACCES", "ok"]


def test_links_of_roots_are_followed(place: Path) -> None:
    fill(place, "real/file", "real/other")
    (place / "straight").symlink_to("real/file")
    (place / "round").symlink_to(place / "middle")
    (place / "middle").symlink_to("../" + place.name + "/real")
    tried = reads(place / "straight", place / "real/file", place / "real/other")
    done = run(bytes_of(files={place / "straight": ["read_file"]}), *tried, mode="strict")
    assert (done.lines, done.missing) == (["ok", "ok", "EACCES"], [])
    done = run(bytes_of(files={place / "round/other": ["read_file"]}), *tried, mode="strict")
    assert (done.lines, done.missing) == (["EACCES", "EACCES", "ok"], [])
    # /proc/self is the kernel's.
    done = run(bytes_of(files={"/proc/self/status": ["read_file"]}), *reads(Path("/proc/self/status")), mode="strict")
    assert (done.lines, done.missing) == (["ok"], [])


def test_a_link_that_others_could_change_is_not_followed_and_that_is_said(place: Path) -> None:
    fill(place, "secret", "theirs/mine", "open/mine")
    for name, owner, mode in (("theirs", WWW, 0o755), ("open", 0, 0o777)):
        (place / name / "link").symlink_to(place / "secret")
        os.chown(place / name, owner, owner)
        (place / name).chmod(mode)
    fill(place, "safe/mine")
    (place / "safe/link").symlink_to(place / "secret")
    # The link alone is another's: in a directory of root's.
    (place / "safe/given").symlink_to(place / "secret")
    os.lchown(place / "safe/given", WWW, WWW)
    for rule in ("theirs/link", "open/link", "safe/given", "theirs/*", "theirs/lin[jk]"):
        policy = bytes_of(files={place / rule: ["read_file"], place / "safe/mine": ["read_file"]})
        done = run(policy, *reads(place / "secret", place / "safe/mine"))
        assert done.lines == ["EACCES", "ok"], rule
        assert len(done.missing) == 1
        assert done.missing[0].startswith(
            f"files: {place}/{rule.replace('[jk]', '?')} is left out: it leads over a link"
        )
        assert done.missing[0] in done.errors
        assert done.status is not None and done.status["layers"]["files"] == "partially"
        assert checked(policy).status == done.status
        assert run(policy, mode="strict").code == 125
    # The twin: the same in a directory of root's.
    done = run(bytes_of(files={place / "safe/link": ["read_file"]}), *reads(place / "secret"), mode="strict")
    assert (done.lines, done.missing) == (["ok"], [])
    # It leads nowhere by way of parentdir either.
    for rule in ("theirs/link", "theirs/l*k"):
        rules = [of(place, rule, OnMissing.PARENTDIR, "read_file")]
        done = run(bytes_of(files=rules), *reads(place / "theirs/mine", place / "secret"))
        assert (done.lines, len(done.missing)) == (["EACCES", "EACCES"], 1)


def test_what_is_worse_is_said_after_what_is_milder(place: Path) -> None:
    """A pattern meets a link without an end first, and then one that another user could change."""
    directory = place / "links"
    directory.mkdir()
    for number in range(50):
        (directory / f"loop{number}").symlink_to(f"loop{number}")
    policy = bytes_of(files={f"{directory}/*": ["read_file"]})
    assert run(policy, "nnp", mode="strict").code == 0, "loops alone open nothing, and take nothing away"
    for number in range(5):
        (directory / f"other{number}").symlink_to("/etc/hostname")
        os.lchown(directory / f"other{number}", WWW, WWW)
    done = run(policy, "nnp")
    assert done.status is not None and done.status["layers"]["files"] == "partially"
    assert any("a link which another user could change" in one for one in done.missing)
    assert run(policy, "nnp", mode="strict").code == 125


def test_more_reasons_than_there_is_room_for_are_counted(place: Path) -> None:
    count = 120
    (place / "theirs").mkdir(mode=0o777)
    (place / "theirs").chmod(0o777)
    for number in range(count):
        (place / "theirs" / f'"\\"{number}').symlink_to("nowhere")
    policy = bytes_of(files={place / "theirs" / f'"\\\\"{number}': ["read_file"] for number in range(count)})
    done = run(policy, "nnp")
    assert done.status is not None
    assert (done.lines, len(done.missing) + done.status["more"]) == (["1 ok"], count)
    assert 0 < len(done.missing) < count
    assert all('/theirs/"\\\\"' in one and one.endswith("name what it leads to") for one in done.missing)
    assert done.errors.endswith(f"scmm-enforce:   and more: {done.status['more']}\n")
    assert done.errors.count("\n") == len(done.missing) + 2


def test_a_link_of_the_users_own(place: Path) -> None:
    """Whoever runs the launcher may send its rules where they like; who it runs the program as may not."""
    fill(place, "home/real", "home/other")
    (place / "home/link").symlink_to("real")
    for path in (place / "home", place / "home/link"):
        os.chown(path, WWW, WWW, follow_symlinks=False)
    policy = bytes_of(files={place / "home/link": ["read_file"]})
    tried = reads(place / "home/real", place / "home/other")
    as_www = ("setpriv", "--reuid", str(WWW), "--regid", str(WWW), "--clear-groups")
    assert run(policy, *tried, before=as_www, mode="strict").lines == ["ok", "EACCES"]
    policy = bytes_of(files={place / "home/link": ["read_file"]}, run_as=RunAs(WWW, WWW))
    assert run(policy, *tried).lines == ["EACCES", "EACCES"]


def test_links_without_end(place: Path) -> None:
    (place / "loop").symlink_to("loop")
    (place / "last").write_text("content")
    for number in range(41):
        (place / f"link{number}").symlink_to(f"link{number - 1}" if number else "last")
    done = run(bytes_of(files={place / "loop": ["read_file"]}), "read", place / "last")
    assert (done.lines, done.missing) == (
        ["EACCES"],
        [f"files: {place}/loop is left out, as it cannot be opened: ELOOP"],
    )
    # 40 are followed, as by the kernel.
    for number, answer in ((39, "ok"), (40, "EACCES")):
        done = run(bytes_of(files={place / f"link{number}": ["read_file"]}), "read", place / "last")
        assert done.lines == [answer]


def test_skip(place: Path) -> None:
    done = run(bytes_of(files={place / "no/such": ["make_reg"]}), "create", place / "such", mode="strict")
    assert (done.lines, done.missing) == (["EACCES"], [])
    assert os.listdir(place) == []


def of(place: Path, name: str, missing: OnMissing, *rights: str) -> PathRule:
    return PathRule(str(place / name), rights, missing)


def test_precreate_makes_what_the_program_can_use(place: Path) -> None:
    rules = [
        of(place, "file", OnMissing.PRECREATE, "write_file"),
        of(place, "tree/**", OnMissing.PRECREATE, "make_reg", "write_file"),
        of(place, "no/file", OnMissing.PRECREATE, "write_file"),
    ]
    policy = bytes_of(files=rules, run_as=RunAs(WWW, WWW))
    assert checked(policy).code == 0
    assert os.listdir(place) == [], "--check makes nothing"
    tried = (
        "write",
        place / "file",
        "create",
        place / "tree/new",
        "write",
        place / "tree/new",
        "create",
        place / "new",
    )
    done = run(policy, *tried, mode="strict")
    assert (done.code, done.lines) == (0, ["ok", "ok", "ok", "EACCES"])
    assert done.missing == [f"files: {place}/no/file is not there, and neither is the directory for it"]
    assert (place / "file").read_text() == "written"
    found = {name: (place / name).lstat() for name in ("file", "tree", "tree/new")}
    assert {(one.st_uid, one.st_gid) for one in found.values()} == {(WWW, WWW)}
    assert stat.S_IMODE(found["file"].st_mode) == 0o644 and stat.S_IMODE(found["tree"].st_mode) == 0o755
    # What is there already stays as it is.
    os.chown(place / "file", 0, 0)
    run(policy)
    assert ((place / "file").read_text(), (place / "file").stat().st_uid) == ("written", 0)


@pytest.mark.parametrize(("owner", "mode", "made"), [(WWW, 0o755, True), (0, 0o1777, True), (WWW + 1, 0o755, False)])
def test_directories_that_others_can_write_to_get_ones_that_the_program_could_make(
    place: Path, owner: int, mode: int, made: bool
) -> None:
    """Nothing is given away there: another directory of root's could have been put in the place of what was made."""
    shared = place / "shared"
    shared.mkdir()
    os.chown(shared, owner, owner)
    shared.chmod(mode)
    policy = bytes_of(files=[of(shared, "new/**", OnMissing.PRECREATE, "make_reg")], run_as=RunAs(WWW, WWW))
    done = run(policy, "create", shared / "new/file")
    assert done.lines == (["ok"] if made else ["ENOENT"])
    assert os.listdir(shared) == (["new"] if made else [])
    if made:
        assert ((shared / "new").stat().st_uid, (shared / "new").stat().st_gid) == (WWW, WWW)
    else:
        assert done.missing == [f"files: {shared}/new/** is not there, and cannot be made: EACCES"]
    # The launcher itself is root again: what only root can write to is still made.
    private = place / "private"
    private.mkdir()
    both = [of(shared, "b/**", OnMissing.PRECREATE, "make_reg"), of(private, "c/**", OnMissing.PRECREATE, "make_reg")]
    run(bytes_of(files=both, run_as=RunAs(WWW, WWW)))
    assert os.listdir(private) == ["c"]


def test_precreate_does_not_write_through_a_link_to_nothing(place: Path) -> None:
    (place / "link").symlink_to(place / "elsewhere")
    policy = bytes_of(files=[of(place, "link", OnMissing.PRECREATE, "write_file")])
    done = run(policy, "stat", place / "elsewhere")
    assert done.lines == ["ENOENT"]
    assert done.missing[0] == f"files: {place}/link is not there, and cannot be made: EEXIST"


def test_parentdir(place: Path) -> None:
    fill(place, "there/file", "logs/old.txt")
    tried = ("create", place / "there/new", "create", place / "logs/new", "create", place / "new")
    for rule, made in (
        (of(place, "there/made", OnMissing.PARENTDIR, "make_reg"), "there"),
        (of(place, "logs/*.log", OnMissing.PARENTDIR, "make_reg"), "logs"),
        (of(place, "there/made/**", OnMissing.PARENTDIR, "make_reg"), "there"),
        (of(place, "there/file", OnMissing.PARENTDIR, "make_reg", "read_file"), ""),
        (of(place, "logs/*.txt", OnMissing.PARENTDIR, "make_reg", "read_file"), ""),
        (of(place, "no/made", OnMissing.PARENTDIR, "make_reg"), ""),
    ):
        done = run(bytes_of(files=[rule]), *tried, mode="strict")
        assert done.lines == [
            *(["ok", "EACCES"] if made == "there" else ["EACCES", "ok" if made else "EACCES"]),
            "EACCES",
        ]
        for name in ("there", "logs"):
            assert (place / name / "new").exists() == (name == made)
            (place / name / "new").unlink(missing_ok=True)


def test_variables_are_of_the_user_that_the_program_is(place: Path) -> None:
    """/etc/passwd says who that is, never the environment."""
    home = place / "home"
    fill(place, "home/file", "home/web", "other/file", "other/root")
    lines = [
        *("root:x:0:0::/:/bin/sh", "broken", f"web:x:{WWW}:{WWW}::{home}:/bin/sh", f"later:x:{WWW}:0::/:"),
        *("up::1001:1001::relative:", "..:x:1002:1002::/:", "x" * 9000 + ":x:1003:1003::/:", f"last:x:1004:1:::{home}"),
    ]
    (place / "passwd").write_text("\n".join(lines))
    mount = ("unshare", "-m", "sh", "-c", f'mount --bind {place}/passwd /etc/passwd && exec "$@"', "sh")
    rules = {"${HOME}/file": ["read_file"], f"{home}/${{USER}}": ["read_file"]}
    tried = reads(home / "file", home / "web", place / "other/file", place / "other/root")
    lying = {**os.environ, "HOME": str(place / "other"), "USER": "file", "LOGNAME": "file"}

    def lines_of(uid: int) -> list[str]:
        policy = bytes_of(files=rules, run_as=RunAs(uid, uid))
        return run(policy, *tried, mode="strict", before=mount, env=lying).lines

    assert lines_of(WWW) == ["ok", "ok", "EACCES", "EACCES"]
    # Of another user, of one whose home is none or whose name would lead elsewhere, and of one that is not there.
    for uid in (1001, 1002, 1003, 1004, 77):
        assert lines_of(uid) == ["EACCES"] * 4, uid
    # Without an identity it is who runs the launcher.
    assert run(bytes_of(files=rules), *tried, before=mount, env=lying).lines == ["EACCES"] * 4
    (place / "passwd").write_text(f"root:x:0:0::{place}:/bin/sh\n")
    assert run(bytes_of(files={"${HOME}/other": ["read_file"]}), *tried, before=mount, env=lying).lines == [
        *("EACCES", "EACCES", "ok", "ok")
    ]


@pytest.mark.parametrize("home", ["/", "//", "/etc/..", "/{place}/root"])
def test_the_root_directory_is_nobody_s_home(place: Path, home: str) -> None:
    """System users without a home often have it in /etc/passwd: then ${HOME}/** would be every file there is."""
    fill(place, "file")
    (place / "root").symlink_to("/")
    mount = ("unshare", "-m", "sh", "-c", f'mount --bind {place}/passwd /etc/passwd && exec "$@"', "sh")
    policy = bytes_of(files={"${HOME}/**": ["read_file"]})
    (place / "passwd").write_text(f"root:x:0:0::{home.format(place=place)}:/bin/sh\n")
    done = run(policy, *reads(place / "file"), before=mount)
    assert done.lines == ["EACCES"]
    assert done.missing == [
        "files: ${HOME}/** is left out: the user's home is the root directory; name the path itself"
    ]
    assert run(policy, *reads(place / "file"), mode="strict", before=mount).code == 125
    # The control: of a home it is granted.
    (place / "passwd").write_text(f"root:x:0:0::{place}:/bin/sh\n")
    assert run(policy, *reads(place / "file"), mode="strict", before=mount).lines == ["ok"]


def test_what_is_made_is_not_for_others_to_write_whatever_the_umask(place: Path) -> None:
    rules = [of(place, name, OnMissing.PRECREATE, "read_file") for name in ("file", "directory/**")]
    assert run(bytes_of(files=rules), "nnp", preexec_fn=lambda: os.umask(0)).code == 0
    made = {name: (place / name).stat().st_mode & 0o777 for name in ("file", "directory")}
    assert made == {"file": 0o644, "directory": 0o755}


def test_what_the_launcher_cannot_open_is_said(place: Path) -> None:
    fill(place, "closed/file", "closed/deep/file")
    (place / "closed").chmod(0o700)
    as_www = ("setpriv", "--reuid", str(WWW), "--regid", str(WWW), "--clear-groups")
    for rule in ("closed/file", "closed/*", "closed/deep/**", "*/file"):
        policy = bytes_of(files={place / rule: ["read_file"]})
        done = run(policy, *reads(place / "closed/file"), before=as_www, mode="strict")
        # The program cannot reach it either.
        assert (done.lines, done.missing) == (
            ["EACCES"],
            [f"files: {place}/{rule} is left out, as it cannot be opened: EACCES"],
        )
        done = run(policy, *reads(place / "closed/file"), mode="strict")
        assert (done.lines, done.missing) == (["EACCES" if "deep" in rule else "ok"], [])


def test_what_needs_more_descriptors_than_there_are_is_said(place: Path) -> None:
    fill(place, "a/b/c/d/e/f/file")
    rule = "/".join(["[ax]", "[bx]", "[cx]", "[dx]", "[ex]", "[fx]", "file"])
    policy = bytes_of(files={place / rule: ["read_file"]})
    few = ("prlimit", "--nofile=12:12")
    done = run(policy, *reads(place / "a/b/c/d/e/f/file"), before=few)
    assert done.lines == ["EACCES"]
    assert [one.endswith("is left out, as it cannot be opened: EMFILE") for one in done.missing] == [True]
    assert done.status is not None and done.status["layers"]["files"] == "partially"
    assert run(policy, before=few, mode="strict").code == 125
    assert run(policy, *reads(place / "a/b/c/d/e/f/file"), mode="strict").lines == ["ok"]


def test_links_of_the_kernel_in_a_user_namespace(place: Path) -> None:
    """There /proc and what is in it look like nobody's; where its links lead nobody but the kernel says."""
    as_www = ("setpriv", "--reuid", str(WWW), "--regid", str(WWW), "--clear-groups", "unshare", "--user")
    policy = bytes_of(files={"/proc/self/status": ["read_file"]})
    done = run(policy, *reads(Path("/proc/self/status"), Path("/proc/self/stat")), before=as_www, mode="strict")
    assert (done.code, done.lines, done.missing) == (0, ["ok", "EACCES"], [])
    # What a process has as its root directory, that process says.
    root = f"/proc/{os.getpid()}/root"
    policy = bytes_of(files={f"{root}/etc/passwd": ["read_file"]})
    done = run(policy, *reads(Path("/etc/passwd")), before=as_www)
    assert done.lines == ["EACCES"]


def test_names_of_any_bytes(place: Path) -> None:
    name = b'a\x1b[31m\xff\n"\\'
    path = os.fsencode(place) + b"/" + name
    os.mkdir(path)
    os.symlink("loop", path + b"/loop")
    (place / "file").write_text("content")
    parts = [*os.fsencode(place).split(b"/")[1:], name, b"loop"]
    rule = CompiledPathRule(
        tuple(Component(ComponentKind.NAME, one) for one in parts), PathKind.EXACT, 4, Missing.SKIP, 1
    )
    policy = write(PolicyFile((), Ruleset(4, 0, 0, 1, (rule,)), Identity(), (), Metadata()))
    done = run(policy, *reads(place / "file"), options=["-v"])
    said = f'files: {place}/a\\x1b[31m\\xff\\x0a"\\\\/loop is left out, as it cannot be opened: ELOOP'
    assert done.missing[0] == said
    assert f"scmm-enforce:   {said}\n" in done.errors


def test_no_rule_at_all_is_no_file_at_all(place: Path) -> None:
    fill(place, "file")
    bare = enforce.bytes_of_rules(filesystem=())
    done = run(bare, "read", place / "file")
    assert (done.code, done.lines) == (126, [])
    assert "it may not be executed: with a policy for files" in done.errors
    # Nothing of what it names is there: that is said.
    gone = enforce.bytes_of_rules(filesystem=(PathRule(f"{place}/gone", ("read_file",)),))
    done = run(gone, "read", place / "file")
    assert done.code == 126
    assert done.missing[-1] == "files: none of the policy's paths is here, so the program may use no file at all"
    # Other layers alone leave files as they are.
    assert run(bytes_of(capabilities=()), "read", place / "file").lines == ["ok"]


def test_a_hundred_thousand_rules(place: Path) -> None:
    count = 100_000
    top = place / "many"
    top.mkdir()
    for number in range(0, count, 10):
        os.mknod(top / str(number))
    start = [Component(ComponentKind.NAME, one) for one in os.fsencode(top).split(b"/")[1:]]
    # All but one of those that are there.
    rules = [
        CompiledPathRule((*start, Component(ComponentKind.NAME, b"%d" % number)), PathKind.EXACT, 4, Missing.SKIP, 1)
        for number in range(count)
        if number != 50
    ]
    program = [Component(ComponentKind.NAME, one) for one in os.fsencode(acts()).split(b"/")[1:]]
    rules.append(CompiledPathRule(tuple(program), PathKind.EXACT, 5, Missing.SKIP, 1))
    file = PolicyFile((), Ruleset(landlock.fs_of_abi(1), 0, 0, 1, tuple(rules)), Identity(), (), Metadata())
    done = run(write(file), *reads(top / "0", top / "50", top / str(count - 10)), mode="standard")
    assert (done.lines, done.missing) == (["ok", "EACCES", "ok"], [])


def test_exceptions_beneath_a_directory(place: Path) -> None:
    """What Landlock cannot take away beneath a directory is not given: all beside it is."""
    names = (
        ".ssh/id",
        ".sshd/x",
        ".ss",
        ".config/secret/key",
        ".config/secrets",
        ".config/app/conf",
        "\xe9/x",
        "e\xe8",
    )
    fill(place, *names, "doc/a/b", "file", ".s/x", "\xe8/x")
    excluded = (f"{place}/.ssh", f"{place}/.config/secret", f"{place}/\xe9")
    words = ("read_file", "read_dir", "make_reg")
    rules = [PathRule(f"{place}/**", words, excluded=excluded)]
    free = (".sshd/x", ".ss", ".config/secrets", ".config/app/conf", "e\xe8", "doc/a/b", "file", ".s/x", "\xe8/x")
    kept = (".ssh/id", ".config/secret/key", "\xe9/x")
    tried = reads(*(place / one for one in (*free, *kept)))
    done = run(bytes_of(files=rules), *tried, mode="strict")
    assert done.lines == ["ok"] * len(free) + ["EACCES"] * len(kept)
    # Without them the same rule grants all; and the rules' own rights, not those of anything above, are what counts.
    assert run(bytes_of(files=[PathRule(f"{place}/**", words)]), *tried, mode="strict").lines == ["ok"] * 12
    listed = ("", ".ssh", ".config", ".config/secret", "\xe9", "doc", "doc/a", ".sshd", ".config/app")
    done = run(bytes_of(files=rules), *(word for one in listed for word in ("list", place / one)), mode="strict")
    assert done.lines == ["EACCES"] * 5 + ["ok"] * 4
    # No new name beside the exceptions, and none in them; in the directories beside, as ever.
    made = ("new", ".ssh/new", ".config/new", "doc/new", "doc/a/new")
    done = run(bytes_of(files=rules), *(word for one in made for word in ("create", place / one)), mode="strict")
    assert done.lines == ["EACCES"] * 3 + ["ok"] * 2
    # A rule that names what is excepted grants it.
    named = [*rules, PathRule(f"{place}/.ssh/id", ("read_file",))]
    assert run(bytes_of(files=named), *reads(place / ".ssh/id"), mode="strict").lines == ["ok"]


def test_links_beside_an_exception_are_not_followed(place: Path) -> None:
    """Else the program of today could make one that leads to what is excepted, for the program of tomorrow."""
    fill(place, "home/.ssh/id", "home/file", "home/deep/a/x", "elsewhere/file")
    excluded = (f"{place}/home/.ssh", f"{place}/home/deep/b")
    rules = [
        PathRule(f"{place}/link/**", ("read_file",), excluded=tuple(one.replace("home", "link") for one in excluded))
    ]
    tried = reads(*(place / one for one in ("home/file", "home/deep/a/x", "home/.ssh/id", "elsewhere/file")))
    # What leads to the directory itself is followed, as everywhere.
    (place / "link").symlink_to("home")
    policy = bytes_of(files=rules)
    assert run(policy, *tried, mode="strict").lines == ["ok", "ok", "EACCES", "EACCES"]
    (place / "home/other").symlink_to("../elsewhere")
    (place / "home/keys").symlink_to(".ssh")
    (place / "home/id").symlink_to(".ssh/id")
    (place / "home/deep/keys").symlink_to("../.ssh")
    assert run(policy, *tried, mode="strict").lines == ["ok", "ok", "EACCES", "EACCES"]
    # A name on the way to an exception that has become a link: nothing of what it leads to.
    (place / "home/deep").rename(place / "home/was")
    (place / "home/deep").symlink_to(".ssh")
    fill(place, "home/.ssh/x/y")
    done = run(policy, *tried, *reads(place / "home/.ssh/x/y", place / "home/was/a/x"), mode="strict")
    assert done.lines == ["ok", "ENOENT", "EACCES", "EACCES", "EACCES", "ok"]
    # The control: a pattern without exceptions follows them.
    followed = bytes_of(files=[PathRule(f"{place}/home/*/**", ("read_file",))])
    assert run(followed, *reads(place / "elsewhere/file", place / "home/.ssh/id"), mode="strict").lines == ["ok", "ok"]
