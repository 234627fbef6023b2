import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NGINX, app, as_bytes, call, captures, nginx, session

from scmm_oci.capture import file
from scmm_oci.capture.model import Host, LossKind, Phase
from scmm_oci.errors import BadInput
from scmm_oci.policy import document
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import infer, name_of, runtime_names
from scmm_oci.policy.model import Action
from scmm_oci.tables.arch import Arch


def capture(value):
    return file.parse(as_bytes(value))


def rules(policy):
    return {rule.name: (rule.action.value, rule.errno) for rule in policy.syscalls}


def codes(inference):
    return [finding.code for finding in inference.findings]


def test_nginx():
    result = infer([capture(NGINX)])
    allow, enosys = ("allow", None), ("deny", "ENOSYS")
    assert rules(result.policy) == {
        "accept4": allow,
        "clone": allow,
        "clone3": enosys,
        "epoll_wait": allow,
        "getcwd": allow,
        "openat": allow,
        "personality": allow,
        "read": allow,
        "write": allow,
    }
    # Of the runtime's and the set-up's calls, nothing.
    assert not {"mount", "sysinfo", "close", "execve"} & rules(result.policy).keys()
    assert codes(result) == ["denied-by-engine", "partly-denied"]
    read = next(rule for rule in result.policy.syscalls if rule.name == "read")
    assert (read.origin.phases, read.origin.sessions, read.origin.count) == (("app",), ("main", "exec"), 15)
    metadata = result.policy.metadata
    assert (metadata.name, metadata.generated_at) == ("nginx", "2026-11-22T09:42:19Z")
    assert metadata.target_executable == "nginx"


def test_settings():
    settings = infer([capture(NGINX)], Decisions(default_errno="ENOSYS", name="web")).policy.settings
    assert settings.default_action is Action.DENY
    assert settings.default_errno == "ENOSYS"
    assert settings.log_denials is False
    assert settings.architectures == (Arch.X86_64,)
    assert infer([capture(NGINX)], Decisions(name="web")).policy.metadata.name == "web"


@pytest.mark.parametrize(
    ("errno", "default", "rule"),
    [
        ("ENOSYS", "EPERM", ("deny", "ENOSYS")),
        ("EPERM", "EPERM", None),
        ("EACCES", "EPERM", ("deny", "EACCES")),
        ("ENOSYS", "ENOSYS", None),
        ("EPERM", "ENOSYS", ("deny", "EPERM")),
        (None, "EPERM", None),
    ],
)
def test_what_the_engine_refused_is_answered_as_the_engine_did(errno, default, rule):
    refused = call("keyctl", 0, denied=3, denied_errno=errno)
    result = infer([capture(app(call("read"), refused))], Decisions(default_errno=default))
    assert rules(result.policy).get("keyctl") == rule
    told = "denied-by-engine" if errno else "answered-by-supervisor"
    assert codes(result) == ([] if errno == "ENOSYS" else [told])
    # Control: had it passed once, it would be allowed.
    passed = call("keyctl", 1, denied=3, denied_errno=errno)
    result = infer([capture(app(call("read"), passed))], Decisions(default_errno=default))
    assert rules(result.policy)["keyctl"] == ("allow", None)
    assert codes(result) == ["partly-denied" if errno else "partly-answered"]


def test_refused_in_one_recording_and_used_in_another_is_allowed():
    refused = capture(app(call("clone3", 0, denied=1, denied_errno="ENOSYS"), name="a"))
    used = capture(app(call("clone3"), name="b"))
    assert rules(infer([refused], needed=frozenset()).policy) == {"clone3": ("deny", "ENOSYS")}
    assert rules(infer([refused, used]).policy) == {"clone3": ("allow", None)}


def test_what_the_runtime_needs_gets_no_refusing_rule():
    result = infer(
        [capture(app(call("read"), call("faccessat2", 0, denied=1, denied_errno="ENOSYS")))],
        needed=frozenset({"faccessat2"}),
    )
    assert rules(result.policy) == {"read": ("allow", None)}


def test_a_call_that_always_failed_is_allowed_all_the_same():
    # It got past the filter; what it is answered is the kernel's business.
    result = infer([capture(app(call("read"), call("mount", 2, errnos=["EPERM"])))])
    assert rules(result.policy)["mount"] == ("allow", None)


def test_io_uring_is_a_finding():
    assert codes(infer([capture(app(call("io_uring_setup"), call("read")))])) == ["io-uring"]
    refused = call("io_uring_setup", 0, denied=1, denied_errno="ENOSYS")
    assert codes(infer([capture(app(refused, call("read")))])) == []


def test_other_abis_extend_the_architectures():
    mixed = app(call("read"), call("socketcall", arch="x86"), call("execve", arch="x32"))
    result = infer([capture(mixed)])
    assert result.policy.settings.architectures == (Arch.X86_64, Arch.X86, Arch.X32)
    assert set(rules(result.policy)) == {"read", "socketcall", "execve"}
    assert codes(result) == ["many-architectures"]
    # The policy that comes out can be read again.
    assert document.parse(document.dump(result.policy)) == result.policy
    # In the runtime's phase they say nothing of the program.
    outside = nginx(sessions=[session([call("read")], runtime=[call("socketcall", arch="x86")])])
    assert infer([capture(outside)]).policy.settings.architectures == (Arch.X86_64,)


def test_a_call_without_a_name_is_an_error_and_never_dropped():
    nameless = {**call("read", nr=501), "name": None}
    with pytest.raises(BadInput) as caught:
        infer([capture(app(call("read"), nameless))])
    assert str(caught.value) == (
        "capture 'nginx', session 0: system call 501 of x86_64 has no name in our tables "
        "(a newer scmm-oci may know its name; without one no profile can allow it)"
    )
    # Where the kernel did not have it either, or a filter refused it, the program went on without it.
    for tried in (
        {**nameless, "succeeded": 0, "errnos": ["ENOSYS"]},
        {**nameless, "entered": 0, "succeeded": 0, "denied": 1, "denied_errno": "EPERM"},
    ):
        result = infer([capture(app(call("read"), tried))])
        assert (set(rules(result.policy)), codes(result)) == ({"read"}, ["unnamed-call"])


def test_a_name_that_the_recorder_did_not_know_is_found():
    nameless = {**call("read"), "name": None}
    assert set(rules(infer([capture(app(nameless))]).policy)) == {"read"}


def test_incomplete_captures_are_refused_with_every_loss():
    losses = [
        {"kind": "lost-calls", "count": 3, "detail": "no table was left"},
        {"kind": "cut-short", "count": 1, "detail": "recovered after a crash"},
    ]
    incomplete = capture(nginx(complete=False, losses=losses))
    with pytest.raises(BadInput) as caught:
        infer([incomplete, capture(nginx(name="other"))])
    way_out = "(record again, or take it as it is with --accept-incomplete)"
    assert str(caught.value).splitlines() == [
        f"capture 'nginx': is incomplete: lost-calls (3×): no table was left {way_out}",
        f"capture 'nginx': is incomplete: cut-short (1×): recovered after a crash {way_out}",
    ]
    accepted = infer([incomplete], Decisions(accept_incomplete=True))
    assert accepted.policy == infer([capture(NGINX)]).policy
    assert codes(accepted)[:2] == ["incomplete", "incomplete"]


@pytest.mark.parametrize(
    ("kind", "way_out"),
    [(kind, "record again, or") for kind in LossKind if kind not in ("io-uring", "snapshot", "attached")]
    + [
        ("io-uring", "record again with kernel.io_uring_disabled=2, or"),
        ("snapshot", "take it when the recording has ended, or"),
        ("attached", "record from the program's start, or"),
    ],
)
def test_no_kind_of_loss_is_taken_without_consent(kind, way_out):
    loss = {"kind": kind, "count": 1, "detail": "x"}
    incomplete = capture(nginx(complete=False, losses=[loss]))
    with pytest.raises(BadInput) as caught:
        infer([incomplete])
    told = f"is incomplete: {kind} (1×): x ({way_out} take it as it is with --accept-incomplete)"
    assert str(caught.value) == f"capture 'nginx': {told}"
    accepted = infer([incomplete], Decisions(accept_incomplete=True))
    assert codes(accepted)[0] == "incomplete"
    # Control: nothing was lost.
    assert "incomplete" not in codes(infer([capture(NGINX)]))


def test_io_uring_is_a_loss_of_the_capture_and_a_finding_of_the_policy():
    loss = {"kind": "io-uring", "count": 1, "detail": "x"}
    document = app(call("io_uring_setup"), complete=False, losses=[loss])
    assert codes(infer([capture(document)], Decisions(accept_incomplete=True))) == ["incomplete", "io-uring"]


def test_captures_of_different_machines_do_not_mix():
    arm = capture(app(call("read", arch="aarch64"), name="arm", host={"kernel": "6", "machine": "aarch64"}))
    assert infer([arm]).policy.settings.arch == Arch.AARCH64
    with pytest.raises(BadInput, match=r"different machines.*'arm': aarch64, 'nginx': x86_64"):
        infer([capture(NGINX), arm])


def test_a_machine_and_its_calls_must_fit():
    with pytest.raises(BadInput, match="calls of aarch64, which a kernel of x86_64 does not run"):
        infer([capture(app(call("read", arch="aarch64")))])
    with pytest.raises(BadInput, match="capture 'nginx': 'vax' is not a known architecture"):
        infer([capture(nginx(host={"kernel": "6", "machine": "vax"}))])


def test_a_capture_without_the_program_is_refused():
    with pytest.raises(BadInput, match="no capture holds a call of the program"):
        infer([capture(nginx(sessions=[session([], setup=[call("mount")])]))])


def test_notes_are_findings():
    note = {"kind": "sessions-shared", "count": 2, "detail": "shared"}
    assert codes(infer([capture(nginx(notes=[note]))]))[0] == "sessions-shared"


def test_runtime_names():
    assert runtime_names([capture(NGINX)]) == {"close", "getpid", "sysinfo", "execve"}


def test_nothing_of_a_capture_reaches_the_yaml_raw():
    hostile = nginx(name="a\n- x\x1b\udc80", container={**NGINX["container"], "args": ["\u2028"]})
    policy = infer([capture(hostile)]).policy
    text = document.dump(policy).decode()
    assert "a\\n- x\\x1b\\udc80" in policy.metadata.name
    assert not {"\x1b", "\u2028"} & set(text)
    assert document.parse(text.encode()) == policy


@given(st.lists(captures(), min_size=1, max_size=3), st.randoms())
def test_the_order_and_number_of_inputs_do_not_matter(inputs, random):
    # Any capture, made to fit: of one machine, and without calls that have no name.
    fitting = [_fitting(one) for one in inputs]
    shuffled = fitting + fitting[:1]
    random.shuffle(shuffled)
    try:
        expected = infer(fitting, Decisions(accept_incomplete=True))
    except BadInput as error:
        assert "no capture holds a call" in str(error)
        return
    result = infer(shuffled, Decisions(accept_incomplete=True))
    assert result == expected
    assert document.dump(result.policy) == document.dump(expected.policy)
    entered = {name_of(one) for found in fitting for _, one in found.calls(Phase.APP) if one.entered}
    allowed = {rule.name for rule in result.policy.syscalls if rule.action is Action.ALLOW}
    assert allowed == entered
    assert document.parse(document.dump(result.policy)) == result.policy


def _fitting(found):
    sessions = tuple(
        type(one)(one.kind, one.number, one.setup, one.runtime, tuple(c for c in one.app if name_of(c) is not None))
        for one in found.sessions
    )
    return type(found)(**{**vars(found), "host": Host("6", "x86_64"), "sessions": sessions})


def test_merging_adds_up():
    first, second = capture(app(call("read", 2), name="a")), capture(app(call("read", 3), call("brk"), name="b"))
    for pair in itertools.permutations([first, second]):
        policy = infer(list(pair)).policy
        assert [(rule.name, rule.origin.count) for rule in policy.syscalls] == [("brk", 1), ("read", 5)]
        assert (policy.metadata.name, policy.metadata.generated_from) == ("a+b", "a, b")
