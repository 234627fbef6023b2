"""What was done with paths → needs and file rules: what is granted, where, and what is told."""

import pytest
from samples import app, as_bytes, call, file_use, program

from scmm_oci.capture import file
from scmm_oci.policy import document
from scmm_oci.policy.admit import refusals
from scmm_oci.policy.decisions import CreatedFiles, Decisions, Generalise
from scmm_oci.policy.infer import infer
from scmm_oci.policy.model import OnMissing
from scmm_oci.tables.operations import O_CREAT, O_EXCL, access_of

EXACT = {"generalise": Generalise.NONE}


def capture(*files, name="a"):
    programs = [program(0, "/bin/a", "a"), program(1, "/bin/b", "b")]
    return file.parse(as_bytes(app(call("read"), name=name, files=list(files), programs=programs)))


def extract(*captures, **decisions):
    result = infer(list(captures), Decisions(**{**EXACT, **decisions}))
    assert document.parse(document.dump(result.policy)) == result.policy
    return result


def rules(result):
    return {rule.path: (rule.access, rule.on_missing.value) for rule in result.policy.filesystem}


def codes(result):
    return [finding.code for finding in result.findings]


def did(path, operation, *, flags=0, kind="reg", created=False, **changes):
    """A use with the rights that the tables say it takes."""
    own, parent = access_of(operation, flags=flags, kind=kind, created=created)
    return file_use(path, operation, flags=flags, created=created, access=own, parent_access=parent, **changes)


def made(path, flags=O_CREAT | 1, **changes):
    return did(path, "open", flags=flags, created=True, **changes)


def test_rights_are_those_that_landlock_asks_for():
    result = extract(
        capture(
            did("/a/read", "open"),
            did("/a/write", "open", flags=1),
            did("/a/cut", "open", flags=0o1001),
            did("/a/list", "open", kind="dir"),
            did("/a/run", "execute"),
            did("/a/terminal", "ioctl"),
            did("/b/looked", "stat"),
            did("/b/linked", "readlink"),
            did("/b/asked", "access", flags=4),
            did("/b/mode", "chmod"),
            did("/b/gone", "chdir"),
        )
    )
    assert rules(result) == {
        "/a/read": (("read_file",), "skip"),
        "/a/write": (("write_file",), "skip"),
        "/a/cut": (("write_file", "truncate"), "skip"),
        "/a/list": (("read_dir",), "skip"),
        "/a/run": (("execute", "read_file"), "skip"),
        "/a/terminal": (("ioctl_dev",), "skip"),
    }


def test_library_is_read_and_not_executed():
    # The seed system takes `.so` in a path for a program.
    assert rules(extract(capture(did("/usr/lib/libc.so.6", "open")))) == {
        "/usr/lib/libc.so.6": (("read_file",), "skip")
    }


def test_names_are_made_and_removed_in_the_directory():
    result = extract(
        capture(
            did("/d/x", "unlink"),
            did("/d/y", "rmdir"),
            did("/e/z", "rename-from", other="/f/z"),
            file_use("/f/z", "rename-to", other="/e/z", parent_access=["make_reg", "remove_file", "refer"]),
        )
    )
    assert rules(result)["/d"] == (("remove_dir", "remove_file"), "skip")
    assert rules(result)["/e"] == (("remove_file",), "skip")
    assert rules(result)["/f"] == (("remove_file", "make_reg", "refer"), "skip")
    assert rules(extract(capture(did("/x", "mkdir")))) == {"/": (("make_dir",), "skip")}


def test_file_of_a_fixed_name_is_made_beforehand():
    use = made("/srv/app/log")
    found = rules(extract(capture(use)))
    assert found["/srv/app/log"] == (("write_file",), "precreate") and "make_reg" in found["/srv/app"][0]
    assert refusals(extract(capture(use)).policy, capture(use)) == ()


@pytest.mark.parametrize(
    "uses",
    [
        [made("/srv/app/new", O_CREAT | O_EXCL | 1)],
        [made("/srv/app/again", succeeded=2), did("/srv/app/again", "unlink")],
        [did("/srv/app/new", "bind"), did("/srv/app/new", "connect")],
        [did("/srv/app/new", "mkdir"), made("/srv/app/new/file")],
        [did("/srv/app/new", "symlink"), did("/srv/app/new", "open")],
    ],
)
def test_what_cannot_be_made_beforehand_is_granted_with_its_directory(uses):
    result = extract(capture(*uses))
    assert set(rules(result)) == {"/srv/app"}
    assert refusals(result.policy, capture(*uses)) == ()


def test_file_that_is_made_once_and_removed_can_be_made_beforehand():
    # Only what is made anew in one run cannot.
    once = [made("/srv/app/x"), did("/srv/app/x", "unlink")]
    assert rules(extract(capture(*once)))["/srv/app/x"][1] == "precreate"
    twice = [made("/srv/app/x", succeeded=2)]
    assert rules(extract(capture(*twice)))["/srv/app/x"][1] == "precreate"


def test_ways_of_granting_what_is_made():
    use = made("/srv/app/log")
    ways = {way: rules(extract(capture(use), created_files=way)) for way in CreatedFiles}
    assert ways[CreatedFiles.AUTO] == ways[CreatedFiles.PRECREATE]
    assert set(ways[CreatedFiles.PARENTDIR]) == {"/srv/app"}
    assert "write_file" in ways[CreatedFiles.PARENTDIR]["/srv/app"][0]
    assert ways[CreatedFiles.SKIP]["/srv/app/log"] == (("write_file",), "skip")
    exclusive = made("/srv/app/log", O_CREAT | O_EXCL | 1)
    assert rules(extract(capture(exclusive), created_files=CreatedFiles.PRECREATE))["/srv/app/log"][1] == "precreate"


@pytest.mark.parametrize("directory", ["/etc", "/home/user", "/root", "/var/lib", "/usr"])
def test_protected_directory_is_not_opened_for_what_is_made_in_it(directory):
    use = made(f"{directory}/fresh", O_CREAT | O_EXCL | 1)
    result = extract(capture(use))
    assert "write_file" not in rules(result)[directory][0]
    assert rules(result)[f"{directory}/fresh"] == (("write_file",), "precreate")
    (told,) = [one for one in result.findings if one.code == "needs-yes"]
    assert told.message.startswith(f"{directory}/fresh is made anew") and f"--accept '{directory}/**'" in told.hint
    accepted = extract(capture(use), accept=(f"{directory}/**",))
    assert "write_file" in rules(accepted)[f"{directory}/**"][0] and "needs-yes" not in codes(accepted)
    assert "needs-yes" not in codes(extract(capture(made("/srv/app/fresh", O_CREAT | O_EXCL | 1))))


def test_missing_files():
    looked = [did("/opt/a.conf", "open", errnos=["ENOENT"]), file_use("/opt/b", "stat", errnos=["ENOENT"])]
    looked[0].update(access=[], parent_access=[])
    denied = file_use("/opt/c", errnos=["EACCES"])
    found = capture(*looked, denied)
    assert rules(extract(found)) == {}
    for way in (OnMissing.PRECREATE, OnMissing.PARENTDIR):
        assert rules(extract(found, missing_files=way)) == {"/opt/a.conf": (("read_file",), way.value)}
    # Found in another recording it is an ordinary file.
    there = capture(did("/opt/a.conf", "open"), name="b")
    assert rules(extract(found, there, missing_files=OnMissing.PRECREATE)) == {"/opt/a.conf": (("read_file",), "skip")}


def test_places_that_no_rule_is_for():
    found = capture(
        file_use("memfd:x", state="internal", access=["write_file"]),
        file_use("/host/x", state="outside", access=["read_file"]),
        file_use("/host/y", "stat", state="outside"),
    )
    result = extract(found)
    assert rules(result) == {}
    assert [one.message.split()[0] for one in result.findings if one.code == "outside-path"] == ["/host/x"]
    assert codes(result) == ["outside-path"]


def test_file_outside_is_not_the_one_of_the_same_name():
    made_outside = made("/srv/app/x", state="outside", succeeded=2)
    found = capture(made_outside, did("/srv/app/x", "open"))
    assert rules(extract(found)) == {"/srv/app/x": (("read_file",), "skip")}
    assert refusals(extract(found).policy, found) == ()


def test_path_that_no_policy_can_hold_is_told():
    result = extract(capture(file_use("/" + "x" * 4096, access=["read_file"]), did("/a/b", "open")))
    assert set(rules(result)) == {"/a/b"} and "unheld-path" in codes(result)
    assert "unheld-path" not in codes(extract(capture(did("/a/b", "open"))))


def test_names_with_letters_of_patterns_stay_names():
    use = did("/srv/a*[b]?$HOME\\", "open")
    result = extract(capture(use))
    assert list(rules(result)) == ["/srv/a\\*\\[b\\]\\?\\$HOME\\\\"] or refusals(result.policy, capture(use)) == ()
    assert refusals(result.policy, capture(use)) == ()
    assert refusals(result.policy, capture(did("/srv/axb", "open"))) != ()


def test_home_is_a_variable_where_it_is_known():
    found = capture(did("/home/u/x", "open"), did("/home/u2/x", "open"))
    assert set(rules(extract(found, home="/home/u"))) == {"${HOME}/x", "/home/u2/x"}
    assert set(rules(extract(found, home="/home/u/"))) == {"${HOME}/x", "/home/u2/x"}
    assert set(rules(extract(found))) == {"/home/u/x", "/home/u2/x"}
    assert set(rules(extract(found, home="/"))) == {"/home/u/x", "/home/u2/x"}


def test_rule_that_a_directory_grants_already_is_left_out():
    both = did("/a/b", "open", kind="dir"), did("/a/b/c", "open", kind="dir")
    assert set(rules(extract(capture(*both)))) == {"/a/b"}
    # By components, and only for rights that it has.
    other = did("/a/b", "open", kind="dir"), did("/a/bc", "open", kind="dir"), did("/a/b/c", "open")
    assert set(rules(extract(capture(*other)))) == {"/a/b", "/a/bc", "/a/b/c"}


def test_accepted_and_rejected_patterns():
    uses = [did(f"/srv/data/{name}", "open") for name in ("one", "two", "three")]
    assert set(rules(extract(capture(*uses), accept=("/srv/data/*",)))) == {"/srv/data/*"}
    assert len(rules(extract(capture(*uses), accept=("/srv/data/*",), reject=("/srv/data/*",)))) == 3
    # A wildcard's files are those that are there: what is made needs more.
    created = made("/srv/data/four")
    found = rules(extract(capture(*uses, created), accept=("/srv/data/*",)))
    assert found["/srv/data/four"][1] == "precreate"
    # The narrowest of the patterns that serve.
    found = rules(extract(capture(*uses), accept=("/srv/**", "/srv/data/*")))
    assert set(found) == {"/srv/data/*"}


def test_origins_count_recordings_and_programs():
    first = capture(did("/a/x", "open", programs=[0]), did("/a/y", "open", programs=[0, 1]))
    second = capture(did("/a/y", "open", programs=[1, 0]), name="b")
    origins = {rule.path: rule.origin for rule in extract(first, second).policy.filesystem}
    assert (origins["/a/x"].programs, origins["/a/x"].recordings, origins["/a/x"].count) == (("/bin/a",), 1, 1)
    assert (origins["/a/y"].programs, origins["/a/y"].recordings, origins["/a/y"].count) == ((), 0, 2)


def test_next_run_with_other_temporary_names_needs_generalisation():
    runs = [capture(made(f"/tmp/job-{token}/out", O_CREAT | O_EXCL | 1), did(f"/tmp/job-{token}", "mkdir"), name=token)
            for token in ("a81f3c", "07be55")]  # fmt: skip
    wide = infer(runs[:1])
    assert refusals(wide.policy, runs[1]) == ()
    narrow = infer(runs[:1], Decisions(generalise=Generalise.NONE, created_files=CreatedFiles.PRECREATE))
    assert refusals(narrow.policy, runs[1]) != ()


def test_no_files_at_all():
    assert extract(capture(did("/a", "open")), files=False).policy.filesystem is None
    assert extract(capture()).policy.filesystem == ()
