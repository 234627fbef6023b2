"""Which call followed which → transitions."""

from samples import app, as_bytes, call

from scmm_oci.capture import file
from scmm_oci.policy import document
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import infer
from scmm_oci.tables import syscalls

NR = syscalls.numbers("x86_64")


def capture(*pairs, name="a", arch="x86_64", calls=("read", "write", "openat")):
    edges = [[NR.get(one, one), NR.get(other, other)] for one, other in pairs]
    order = [{"arch": arch, "edges": sorted(edges, key=lambda pair: (isinstance(pair[0], int), pair))}]
    return file.parse(as_bytes(app(*map(call, calls), name=name, order=order)))


def transitions(*captures):
    result = infer(list(captures), Decisions(transitions=True))
    assert document.parse(document.dump(result.policy)) == result.policy
    return {one.call: one.to for one in result.policy.transitions}, result


def test_transitions_are_by_name_with_beginnings_first():
    found, result = transitions(
        capture(("write", "read"), ("start", "openat"), ("openat", "write"), ("openat", "read"))
    )
    assert found == {"start": ("openat",), "openat": ("read", "write"), "write": ("read",)}
    assert list(found) == ["start", "openat", "write"]
    assert not [one for one in result.findings if one.code == "transitions-left-out"]


def test_captures_add_up_and_nothing_is_invented():
    found, _ = transitions(capture(("start", "read"), ("read", "write")), capture(("signal", "write"), name="b"))
    assert found == {"start": ("read",), "signal": ("write",), "read": ("write",)}


def test_what_has_no_name_is_told():
    found, result = transitions(capture(("start", "read"), ("read", 501), ("foreign", "read")))
    assert found == {"start": ("read",)}
    messages = [one.message for one in result.findings if one.code == "transitions-left-out"]
    assert messages == ["transitions with calls that have no name: 501"]


def test_other_abis_are_told():
    found, result = transitions(capture(("start", 3), arch="x86"))
    assert found == {}
    messages = [one.message for one in result.findings if one.code == "transitions-left-out"]
    assert messages == ["transitions of x86 calls are not in the policy"]


def test_only_if_decided():
    assert infer([capture(("start", "read"))]).policy.transitions is None
