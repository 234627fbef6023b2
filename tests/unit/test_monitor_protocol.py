"""What peers say when they hand a listener over: every form of a state, in any pieces, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer.monitor.protocol import BadPeer, Document, Handed, parse
from scmm_oci.oci.state import MAX_STATE

STATE: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "fds": ["seccompFd"],
    "pid": 4422,
    "metadata": "web",
    "state": {
        "ociVersion": "1.0.2-dev",
        "id": "c1",
        "status": "creating",
        "pid": 4422,
        "bundle": "/run/b",
        "annotations": {"a": "b"},
    },
}


def test_a_state_is_read() -> None:
    handed = parse(json.dumps(STATE).encode(), 1)
    assert (handed.index, handed.pid, handed.metadata) == (0, 4422, "web")
    assert (handed.state.id, handed.state.bundle, handed.state.annotations) == ("c1", "/run/b", {"a": "b"})


def test_the_listener_is_found_by_its_name() -> None:
    handed = parse(json.dumps({**STATE, "fds": ["other", "seccompFd", "more"]}).encode(), 3)
    assert handed.index == 1


def test_metadata_need_not_be_there() -> None:
    assert parse(json.dumps({k: v for k, v in STATE.items() if k != "metadata"}).encode(), 1).metadata == ""


def test_metadata_may_be_as_long_as_a_path() -> None:
    assert len(parse(json.dumps({**STATE, "metadata": "\0" * 4096}).encode(), 1).metadata) == 4096


@pytest.mark.parametrize(
    ("change", "descriptors", "said"),
    [
        ({"fds": []}, 0, "seccompFd expected once"),
        ({"fds": ["seccompFd", "seccompFd"]}, 2, "seccompFd expected once"),
        ({"fds": ["seccompFd", "other"]}, 1, "2 names, and 1 descriptors came"),
        ({"fds": "seccompFd"}, 1, "a list of names expected"),
        ({"fds": [1]}, 1, "a list of names expected"),
        ({"pid": "4422"}, 1, ".pid: '4422' is not a process id"),
        ({"pid": -1}, 1, ".pid: -1 is not a process id"),
        ({"pid": True}, 1, ".pid: True is not a process id"),
        ({"ociVersion": 1}, 1, ".ociVersion: a text expected"),
        ({"metadata": ["web"]}, 1, ".metadata: a text expected"),
        ({"metadata": "x" * 4097}, 1, "is longer than 4096 characters"),
        ({"state": None}, 1, ".state: an object expected"),
        ({"state": {**STATE["state"], "id": "../c1"}}, 1, ".state.id: '../c1' is not a container id"),
        ({"state": {**STATE["state"], "annotations": {"a": 1}}}, 1, ".state.annotations: not an object of strings"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], descriptors: int, said: str) -> None:
    with pytest.raises(BadPeer) as caught:
        parse(json.dumps({**STATE, **change}).encode(), descriptors)
    assert said in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(BadPeer) as caught:
        parse(json.dumps({"fds": 1, "pid": "x", "state": {"id": ""}}).encode(), 0)
    for place in (".ociVersion", ".fds", ".pid", ".state.id"):
        assert place in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"a":NaN}', b"\xff", b"{" * 5000])
def test_what_is_no_object_is_none(text: bytes) -> None:
    with pytest.raises(BadPeer):
        parse(text, 1)


@given(st.data())
def test_an_object_is_whole_at_its_last_byte_and_not_before(data: st.DataObject) -> None:
    value = data.draw(
        st.dictionaries(
            st.text(),
            st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
        )
    )
    raw = json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw)))) | {len(raw)})
    document, begin = Document(), 0
    for cut in cuts:
        assert document.feed(raw[begin:cut]) is (cut == len(raw))
        begin = cut
    assert bytes(document.data) == raw


def test_blanks_may_stand_around_it() -> None:
    document = Document()
    assert document.feed(b" \n") is False
    assert document.feed(b'{"a":"}"} \n') is True


@pytest.mark.parametrize("pieces", [[b"x"], [b'"a"'], [b"{}{}"], [b"{} x"], [b"]"]])
def test_what_can_become_no_object_is_refused_at_once(pieces: list[bytes]) -> None:
    document = Document()
    with pytest.raises(BadPeer):
        for piece in pieces:
            document.feed(piece)


def test_a_state_has_a_bound() -> None:
    document = Document()
    assert document.feed(b'{"a":"' + b"x" * (MAX_STATE - 6)) is False
    with pytest.raises(BadPeer, match="more than"):
        document.feed(b"x")


def test_handed_is_frozen() -> None:
    handed = parse(json.dumps(STATE).encode(), 1)
    assert isinstance(handed, Handed)
    with pytest.raises(AttributeError):
        handed.pid = 1  # type: ignore[misc]
