"""Decisions as plain values and back, and decisions that name what there is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_samples import NAMES, wild_paths

from scmm_oci.errors import BadInput
from scmm_oci.policy.decisions import (
    Addresses,
    ArgumentRules,
    CategoryChoice,
    CreatedFiles,
    Decisions,
    Generalise,
    Unseen,
    check,
    from_document,
    to_document,
)
from scmm_oci.policy.model import Action, OnMissing, WatchAction
from scmm_oci.tables.categories import Category

_name = st.sampled_from(NAMES)
_places = st.frozensets(st.tuples(_name, st.integers(0, 5)), max_size=3)
_patterns = st.lists(wild_paths, max_size=2, unique=True).map(tuple)
decisions = st.builds(
    Decisions,
    name=st.none() | st.text(max_size=5),
    default_action=st.sampled_from([one for one in Action if one is not Action.NOTIFY]),
    default_errno=st.sampled_from(["EPERM", "ENOSYS", "7"]),
    accept_incomplete=st.booleans(),
    categories=st.dictionaries(st.sampled_from(Category), st.sampled_from(CategoryChoice), max_size=3),
    top=st.integers(0, 50),
    calls=st.dictionaries(_name, st.sampled_from(Action), max_size=3),
    arguments=st.sampled_from(ArgumentRules),
    check=_places,
    leave_open=_places,
    unseen=st.sampled_from(Unseen),
    portable=st.booleans(),
    files=st.booleans(),
    generalise=st.sampled_from(Generalise),
    accept=_patterns,
    reject=_patterns,
    missing_files=st.sampled_from(OnMissing),
    created_files=st.sampled_from(CreatedFiles),
    home=st.none() | st.just("/home/u"),
    network=st.booleans(),
    addresses=st.sampled_from(Addresses),
    ports=st.frozensets(st.tuples(st.sampled_from(["inbound", "outbound"]), st.just("tcp"), st.integers(0, 9))),
    capabilities=st.booleans(),
    transitions=st.booleans(),
    refine=st.booleans(),
    depth=st.sampled_from([2, 3]),
    serving_from=st.lists(_name, max_size=2, unique=True).map(tuple),
    watch=st.none() | st.sampled_from(WatchAction),
    likely=st.integers(0, 9),
)


@given(decisions)
def test_there_and_back(decided):
    plain = json.loads(json.dumps(to_document(decided)))
    assert from_document(plain) == decided
    assert to_document(from_document(plain)) == to_document(decided)


def test_defaults_are_left_out():
    assert to_document(Decisions()) == {}
    assert to_document(Decisions(portable=True)) == {"portable": True}
    assert from_document({}) == Decisions()


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "holds no decisions"),
        ({"portabel": True}, "'portabel' is not a decision (did you mean 'portable'?"),
        ({"portable": 1}, "portable: 1 is no value for it"),
        ({"portable": "yes"}, "is no value"),
        ({"top": -1}, "top: -1 is no value"),
        ({"top": True}, "top: True is no value"),
        ({"top": "3"}, "is no value"),
        ({"default_action": "alow"}, "default_action: 'alow' is no value"),
        ({"default_action": "notify"}, "notify cannot be the default"),
        ({"default_errno": "EPREM"}, "'EPREM' is not an error name (did you mean 'EPERM'?)"),
        ({"default_errno": 1}, "is no value"),
        ({"calls": {"raed": "allow"}}, "calls: 'raed' is not a system call (did you mean 'read'?)"),
        ({"calls": {"read": "permit"}}, "calls: "),
        ({"calls": ["read"]}, "is no value"),
        ({"check": [["sokcet", 0]]}, "check: 'sokcet' is not a system call (did you mean 'socket'?)"),
        ({"check": [["socket"]]}, "is no value"),
        ({"check": [["socket", -1]]}, "is no value"),
        ({"leave_open": [["sokcet", 0]]}, "leave_open: 'sokcet' is not a system call"),
        ({"categories": {"network": "most"}}, "is no value"),
        ({"categories": {"netwrok": "top"}}, "is no value"),
        ({"accept": "/a"}, "is no value"),
        ({"accept": ["a"]}, "accept 'a': is not an absolute path"),
        ({"accept": ["/a/**/b"]}, "has '**' before its end"),
        ({"reject": ["/a/../b"]}, "reject '/a/../b': has the component '..'"),
        ({"accept": [1]}, "is no value"),
        ({"ports": [["inbound", "tcp", "80"]]}, "is no value"),
        ({"ports": [["inbond", "tcp", 80]]}, "ports: 'inbond' is not a direction (did you mean 'inbound'?"),
        ({"ports": [["inbound", "tpc", 80]]}, "ports: 'tpc' is not a protocol"),
        ({"ports": [["inbound", "tcp", 65536]]}, "ports: 65536 is not a port from 0 to 65535"),
        ({"check": [["socket", 6]]}, "check: argument 6: calls have the arguments 0 to 5"),
        ({"leave_open": [["socket", 6]]}, "leave_open: argument 6"),
        ({"name": 1}, "is no value"),
    ],
)
def test_what_names_nothing_is_refused(document, told):
    with pytest.raises(BadInput) as caught:
        from_document(document)
    assert told in str(caught.value)


def test_everything_wrong_is_told_at_once():
    with pytest.raises(BadInput) as caught:
        check(Decisions(default_errno="X", calls={"raed": Action.ALLOW}, accept=("a",), reject=("b",)))
    assert len(caught.value.problems) == 4
    check(Decisions(default_errno="7", calls={"read": Action.ALLOW}, accept=("/a",), reject=("/b/*",)))
