"""Strategies for small machines that have much in common, and for what threads do to them."""

from hypothesis import strategies as st

from scmm_oci.policy.machine import Event, Kind
from scmm_oci.policy.model import Serving, Transition

CALLS = ("read", "openat:read", "openat:write", "close", "listen", "accept4", "rt_sigreturn")
WORDS = (*CALLS, "openat")
BEGINNINGS = ("start", "start:exec", "start:fork", "start:thread", "signal", "foreign")

_lists = st.lists(st.sampled_from(WORDS), unique=True, max_size=4).map(tuple)
_rows = st.builds(Transition, st.sampled_from([*WORDS, *BEGINNINGS, "@timer"]), _lists)
_histories = st.builds(Transition, st.sampled_from(WORDS), _lists, st.sampled_from([*WORDS, *BEGINNINGS])).filter(
    lambda one: one.call != one.before
)
transitions = st.lists(_rows | _histories, unique_by=lambda one: one.key, max_size=6).map(tuple)
servings = st.builds(
    Serving, st.lists(st.sampled_from(["listen", "accept4", "read"]), min_size=1, unique=True).map(tuple), transitions
)


@st.composite
def traces(draw):
    """What a few threads do, all of which have begun."""
    threads, found = [1], []
    for _ in range(draw(st.integers(0, 14))):
        thread = draw(st.sampled_from(threads))
        kind = draw(st.sampled_from([*[Kind.CALL] * 8, *(kind for kind in Kind if kind is not Kind.CALL)]))
        if kind in (Kind.FORK, Kind.THREAD):
            threads.append(len(threads) + 1)
            found.append(Event(thread, kind, child=threads[-1]))
        elif kind is Kind.CALL:
            found.append(Event(thread, kind, draw(st.sampled_from(CALLS))))
        elif kind is not Kind.EXIT:
            found.append(Event(thread, kind))
    return found
