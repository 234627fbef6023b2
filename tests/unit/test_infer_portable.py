"""Which calls get rules: categories, decisions, what the engine refused, and what --portable adds and leaves out."""

import pytest
from samples import app, argument, as_bytes, call, nginx, session

from scmm_oci.capture import file
from scmm_oci.policy import document
from scmm_oci.policy.decisions import ArgumentRules, CategoryChoice, Decisions
from scmm_oci.policy.infer import infer
from scmm_oci.policy.model import Action
from scmm_oci.tables.categories import Category, category_of


def capture(*calls, **changes):
    return file.parse(as_bytes(app(*calls, **changes)))


def extract(found, needed=frozenset(), **decisions):
    result = infer([found], Decisions(**decisions), needed=frozenset(needed))
    assert document.parse(document.dump(result.policy)) == result.policy
    return result


def answers(result):
    return {rule.name: (rule.action.value, rule.errno) for rule in result.policy.syscalls}


def codes(result):
    return [finding.code for finding in result.findings]


ALLOW, DENY = ("allow", None), ("deny", None)


def test_categories():
    files = capture(call("openat", 5), call("stat", 7), call("unlink", 1), call("socket", 2), call("connect", 1))
    of = {name: category_of(name) for name in ("openat", "stat", "unlink", "socket")}
    assert of["openat"] is of["stat"] is of["unlink"] is not of["socket"]
    one = of["openat"]
    top = answers(extract(files, categories={one: CategoryChoice.TOP}, top=2))
    assert top == {"openat": ALLOW, "stat": ALLOW, "socket": ALLOW, "connect": ALLOW}
    assert set(answers(extract(files, categories={one: CategoryChoice.DENY}))) == {"socket", "connect"}
    reviewed = {"categories": {one: CategoryChoice.REVIEW}, "calls": {"unlink": Action.ALLOW, "socket": Action.LOG}}
    assert answers(extract(files, **reviewed)) == {"unlink": ALLOW, "connect": ALLOW, "socket": ("log", None)}
    # With another default what is denied needs a rule.
    told = answers(extract(files, categories={one: CategoryChoice.DENY}, default_action=Action.LOG))
    assert (told["openat"], told["socket"]) == (DENY, ALLOW)
    assert Category.OTHER is not one


def test_top_is_by_count_and_then_by_name():
    found = capture(call("stat", 3), call("lstat", 3), call("access", 9))
    one = category_of("stat")
    assert category_of("lstat") is category_of("access") is one
    for top, expected in ((0, set()), (1, {"access"}), (2, {"access", "lstat"}), (9, {"access", "lstat", "stat"})):
        assert set(answers(extract(found, categories={one: CategoryChoice.TOP}, top=top))) == expected


def test_what_the_engine_refused_keeps_its_answer():
    refused = lambda errno: capture(call("read"), call("keyctl", 0, denied=2, denied_errno=errno))  # noqa: E731
    assert answers(extract(refused("ENOSYS")))["keyctl"] == ("deny", "ENOSYS")
    assert answers(extract(refused("EACCES")))["keyctl"] == ("deny", "EACCES")
    assert "keyctl" not in answers(extract(refused("EPERM")))
    assert answers(extract(refused("EPERM"), default_errno="ENOSYS"))["keyctl"] == ("deny", "EPERM")
    assert answers(extract(refused("EPERM"), default_action=Action.LOG))["keyctl"] == ("deny", "EPERM")
    assert "denied-by-engine" in codes(extract(refused("EPERM")))
    assert "denied-by-engine" not in codes(extract(refused("ENOSYS")))
    # What the runtime needs is refused by no rule.
    assert "keyctl" not in answers(extract(refused("ENOSYS"), needed={"keyctl"}))
    partly = extract(capture(call("personality", 1, denied=1, denied_errno="EPERM")))
    assert answers(partly) == {"personality": ALLOW} and "partly-denied" in codes(partly)


def test_refused_in_one_and_made_in_another_capture_is_allowed():
    made, refused = capture(call("keyctl")), capture(call("keyctl", 0, denied=1, denied_errno="EPERM"), name="b")
    assert {rule.name for rule in infer([made, refused]).policy.syscalls} == {"keyctl"}


def test_of_several_answers_of_the_engine_enosys_is_kept():
    # After ENOSYS programs take an older call; after another error some give up.
    refused = [
        capture(call("read"), call("keyctl", 0, denied=1, denied_errno=errno), name=errno)
        for errno in ("EACCES", "ENOSYS")
    ]
    assert answers(infer(refused))["keyctl"] == ("deny", "ENOSYS")
    assert answers(infer(refused[:1]))["keyctl"] == ("deny", "EACCES")


def test_portable_adds_what_does_the_same_job_and_says_so():
    found = capture(call("newfstatat"), call("getpid"))
    plain, wide = answers(extract(found)), extract(found, portable=True)
    assert set(plain) == {"newfstatat", "getpid"}
    assert {"stat", "statx", "fstat"} <= set(answers(wide)) and "getuid" not in answers(wide)
    assert "portable" in codes(wide) and "portable" not in codes(extract(found))
    added = next(rule for rule in wide.policy.syscalls if rule.name == "statx")
    assert added.origin.reason == "--portable: does the job of newfstatat" and added.origin.count == 0
    # Names of the ABI only: fstat64 is one of 32-bit machines.
    assert "fstat64" not in answers(wide)


def test_portable_keeps_constraints_or_leaves_the_call_out():
    found = capture(call("openat"), arguments=[argument("openat", 2, 0)])
    result = extract(found, portable=True, arguments=ArgumentRules.ALL)
    rules = {rule.name: [(one.arg, one.allowed) for one in rule.constraints] for rule in result.policy.syscalls}
    # open has its flags as the second argument, openat2 in memory, and creat always creates.
    assert rules == {"openat": [(2, ("O_RDONLY",))], "open": [(1, ("O_RDONLY",))]}
    told = [finding.message for finding in result.findings if finding.code == "portable-unchecked"]
    assert [message.split()[0] for message in told] == ["creat", "openat2"]
    # Where the flags are open, these come too.
    assert {"creat", "openat2"} <= set(answers(extract(capture(call("openat")), portable=True)))


def test_portable_knows_that_fork_makes_no_namespace_and_clone3_hides_it():
    found = capture(call("clone"), arguments=[argument("clone", 0, 0x11)])
    assert set(answers(extract(found, portable=True))) == {"clone", "fork", "vfork"}
    assert "clone3" in answers(extract(capture(call("clone")), portable=True))


@pytest.mark.parametrize(
    ("calls", "decisions"),
    [
        ([call("newfstatat"), call("stat")], {"calls": {"stat": Action.DENY}}),
        ([call("newfstatat")], {"calls": {"stat": Action.DENY}}),
        ([call("newfstatat"), call("stat", 0, denied=1, denied_errno="EPERM")], {}),
        ([call("newfstatat"), call("stat", 0, denied=1, denied_errno="ENOSYS")], {}),
        ([call("newfstatat"), call("stat")], {"calls": {"stat": Action.KILL}}),
    ],
)
def test_portable_lets_in_nothing_that_was_decided_against(calls, decisions):
    result = answers(extract(capture(*calls), portable=True, **decisions))
    assert result.get("stat", DENY)[0] in ("deny", "kill")
    assert result["lstat"] == ALLOW


def test_programs_and_sessions_are_named_where_they_differ():
    result = infer([file.parse(as_bytes(nginx()))])
    origins = {rule.name: rule.origin for rule in result.policy.syscalls}
    assert origins["write"].programs == ("/usr/sbin/nginx",)
    assert origins["read"].programs == ()  # all of them
    assert origins["getcwd"].sessions == ("exec",)
    setup = nginx(sessions=[session([call("read")], setup=[call("mount")], runtime=[call("execve")])])
    assert set(answers(infer([file.parse(as_bytes(setup))]))) == {"read"}
