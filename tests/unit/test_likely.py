"""Steps that no recording shows: what speaks for them, and what does not."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmm_oci.policy.infer import likely
from scmm_oci.policy.infer.likely import Kind, propose


def recordings(*given, serving=False):
    """Recordings, each steps as text: "read > write, write > read"."""
    return [frozenset((serving, tuple(step.split(" > "))) for step in one.split(", ")) for one in given]


def proposed(*given):
    return {str(one): one for one in propose(recordings(*given))}


ALIKE = ", ".join(f"{call} > {to}" for call in ("a", "b") for to in ("w", "x", "y", "z"))


def test_calls_that_are_alike():
    found = proposed(ALIKE, f"{ALIKE}, a > new", f"{ALIKE}, a > new")
    assert set(found) == {"b > new"}
    one = found["b > new"]
    assert (one.kinds, one.recordings, one.serving) == ((Kind.ALIKE,), 2, False)
    assert one.why == "a > new is in 2 of the recordings, and 4 calls follow both a and b"


def test_what_leads_to_both():
    turned = ", ".join(" > ".join(reversed(step.split(" > "))) for step in f"{ALIKE}, a > new".split(", "))
    found = proposed(turned)
    assert set(found) == {"new > b"} and "4 calls lead to both a and b" in found["new > b"].why


def test_calls_that_share_too_little_are_not():
    assert not proposed(f"{ALIKE}, a > new".replace("b > z", "b > q").replace("a > z", "a > r"))  # three of six
    many = ", ".join(f"a > n{number}" for number in range(5))
    assert not proposed(f"{ALIKE}, {many}")  # four of nine
    assert set(proposed(f"{ALIKE}, {many}".replace(", a > n4", ""))) == {f"b > n{number}" for number in range(4)}


def test_interchangeable_calls_need_to_share_less():
    found = proposed("read > close, readv > close, read > write")
    assert set(found) == {"readv > write"} and found["readv > write"].kinds == (Kind.INTERCHANGEABLE,)
    assert not proposed("read > close, lseek > close, read > write")
    assert set(proposed("openat:read > close, open:write > close, openat:read > read")) == {"open:write > read"}
    # Classes of one call were told apart because they are not alike.
    assert not proposed("mmap:data > close, mmap:exec > close, mmap:data > read")
    # One that never came is never proposed, and neither is one that shares nothing.
    assert not proposed("read > close, read > write, write > readv")


def test_calls_that_come_in_either_order():
    # a > c, and c and b swap; d > b, and a and d swap.
    found = proposed("a > c, c > b, b > c, d > b, a > d, d > a")
    one = found["a > b"]
    assert one.kinds == (Kind.SWAPPED,) and one.recordings == 1
    assert one.why == (
        "a and d, and c and b, come in either order, and a > c and d > b are there (in 1 of the recordings)"
    )
    again = proposed("a > c, c > a")["a > a"]
    assert again.why == "a and c come in either order, and a > c and c > a are there (in 1 of the recordings)"
    assert "a > b" not in proposed("a > c, c > b, d > b, a > d, d > a")
    # Both orders in different recordings are none that one program had.
    assert "a > b" not in proposed("a > c, c > b, d > b, a > d, d > a", "b > c")


@pytest.mark.parametrize("word", ["execve", "ptrace", "socket:inet", "mmap:exec", "mprotect", "openat:write", "bpf"])
def test_nothing_leads_to_what_attacks_are_after(word):
    assert word in likely.GUARDED and not proposed(f"{ALIKE}, a > {word}")
    assert set(proposed(f"{ALIKE}, a > mmap:data")) == {"b > mmap:data"}
    # What comes after them can be likely.
    assert set(proposed(f"{ALIKE}, a > new".replace("b >", f"{word} >"))) == {f"{word} > new"}


def test_start_up_and_serving_are_apart():
    before, after = recordings(f"{ALIKE}, a > new"), recordings(f"{ALIKE}, a > new", serving=True)
    assert [str(one) for one in propose([before[0] | after[0]])] == ["b > new", "b > new (serving)"]
    part = {(phase, words) for phase, words in before[0] if words[0] == "a"}
    assert not propose([part | {(True, words) for _, words in before[0] - part}])


def test_what_has_most_evidence_comes_first():
    found = propose(recordings(f"{ALIKE}, a > new, b > other", f"{ALIKE}, a > new"))
    assert [(str(one), one.recordings) for one in found] == [("b > new", 2), ("a > other", 1)]


def test_histories_say_nothing_here():
    assert not propose([frozenset({(False, ("a", "b", "c")), (False, ("b", "c", "a"))})])


steps = st.frozensets(st.tuples(st.booleans(), st.tuples(*[st.sampled_from("abcdefgh")] * 2)), max_size=40)


@settings(max_examples=150)
@given(st.lists(steps, max_size=4), st.randoms())
def test_laws(given_steps, chance):
    found = propose(given_steps)
    every = frozenset().union(*given_steps)
    for one in found:
        assert (one.serving, (one.call, one.to)) not in every
        assert 1 <= one.recordings <= len(given_steps) and one.kinds
        # Both ends are known, on their sides.
        assert any((phase, words[0]) == (one.serving, one.call) for phase, words in every)
        assert any((phase, words[1]) == (one.serving, one.to) for phase, words in every)
    assert len({(one.serving, one.call, one.to) for one in found}) == len(found)
    again = list(given_steps)
    chance.shuffle(again)
    assert propose(again) == found


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_a_machine_that_is_too_large_gets_none_and_takes_no_time(share):
    chance = random.Random(2)
    every = frozenset(
        (False, (f"a{one}", f"a{other}")) for one in range(512) for other in range(512) if chance.random() < share
    )
    begun = time.process_time()
    found = propose([every, every])
    assert time.process_time() - begun < 30
    assert bool(found) == (len(every) <= likely._LARGEST) == (share == 0.02)
