"""Steps that no recording shows, but that something in several of them speaks for: proposals, never taken unasked.

Three things speak for a > b, all of them seen in the recordings:

- *interchangeable*: another call of a's family (scmm_oci.tables.families) is followed by b, and at least half of what
  follows the one of the two with fewer followers follows both; or the same the other way round, for what leads to b.
- *alike*: a and another call share at least half of all that follows either, and at least four calls, and b follows the
  other one; or the same the other way round.
- *swapped*: a call c follows a and comes before and after b in some recording (c > b, b > c), and a call d leads to b
  and comes before and after a.

No step that leads to what attacks are after (GUARDED) is proposed, whatever speaks for it. docs/policy.md tells how
often proposals were right. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scmm_oci.tables import states
from scmm_oci.tables.families import family_of
from scmm_oci.tables.sensitive import DANGEROUS

# Programs, code that can be run, files opened to be written, sockets, and calls that are dangerous by themselves.
# Without classes open, openat and mmap are too common to be told by.
GUARDED = frozenset(
    [
        *DANGEROUS,
        *("execve", "execveat", "memfd_create", "mprotect", "pkey_mprotect", "creat", "socket", "socketcall"),
        *(f"{call}:write" for call in ("open", "openat")),
        *(f"{call}:exec" for call in ("mmap", "mmap2", "mprotect", "pkey_mprotect")),
        *states.classes_of("socket"),
    ]
)

# What two calls must share to be alike: so many followers, and this share of all that either has.
_SHARED, _OF_ALL = 4, 0.5
# What interchangeable ones must share of the followers that the one with fewer has.
_OF_FEWER = 0.5
# A machine with more steps than any program's gets no proposals: looking for them would take minutes.
_LARGEST = 10_000


class Kind(StrEnum):
    """What speaks for a step; what was right most often comes first."""

    ALIKE = "alike"
    SWAPPED = "swapped"
    INTERCHANGEABLE = "interchangeable"


@dataclass(frozen=True)
class Likely:
    """A step that no recording shows.

    Attributes:
        serving: whether it is one of the time after the switch; ``call``, ``to``: words of scmm_oci.tables.states.
        recordings: how many recordings hold what speaks for it.
        kinds: all that does; ``why``: the first of them, in words.
    """

    serving: bool
    call: str
    to: str
    recordings: int
    kinds: tuple[Kind, ...]
    why: str

    def __str__(self) -> str:
        return f"{self.call} > {self.to}" + (" (serving)" if self.serving else "")


def propose(recordings: Sequence[Iterable[tuple[bool, tuple[str, ...]]]]) -> tuple[Likely, ...]:
    """The likely steps: first what several things speak for, then by kind, recordings and name.

    Args:
        recordings: what each shows: whether the process served, and two words or more; only pairs are looked at.
    """
    counts: tuple[Counter[tuple[str, str]], ...] = (Counter(), Counter())
    both: tuple[Counter[tuple[str, str]], ...] = (Counter(), Counter())
    for one in recordings:
        pairs: tuple[set[tuple[str, str]], ...] = (set(), set())
        for serving, words in one:
            if len(words) == 2:
                pairs[serving].add((words[0], words[1]))
        for phase in (False, True):
            counts[phase].update(pairs[phase])
            both[phase].update((a, b) for a, b in pairs[phase] if a != b and (b, a) in pairs[phase])
    found = [one for phase in (False, True) for one in _Evidence(counts[phase], both[phase]).likely(serving=phase)]
    kinds = list(Kind)
    return tuple(
        sorted(
            found,
            key=lambda one: (
                -len(one.kinds),
                kinds.index(one.kinds[0]),
                -one.recordings,
                one.serving,
                one.call,
                one.to,
            ),
        )
    )


class _Evidence:
    """What the recordings of one phase show. Sets of states are bits of a number: machines can be large."""

    def __init__(self, counts: Counter[tuple[str, str]], both: Counter[tuple[str, str]]) -> None:
        """
        Args:
            counts: step → in how many recordings it is. both: … in how many it and its reverse are.
        """
        self._names = sorted({state for pair in counts for state in pair})
        bits = {state: 1 << number for number, state in enumerate(self._names)}
        self._counts, self._both, self._bits = counts, both, bits
        self._after, self._before, self._around = (dict.fromkeys(self._names, 0) for _ in range(3))
        for a, b in counts:
            self._after[a] |= bits[b]
            self._before[b] |= bits[a]
        for a, b in both:
            self._around[a] |= bits[b]

    def likely(self, *, serving: bool) -> Iterator[Likely]:
        """The proposals, in no order."""
        if len(self._counts) > _LARGEST:
            return
        found: dict[tuple[str, str], dict[Kind, tuple[int, str]]] = {}

        def add(kind: Kind, a: str, b: str, recordings: int, why: str) -> None:
            if b in GUARDED:
                return
            kinds = found.setdefault((a, b), {})
            if recordings > kinds.get(kind, (0, ""))[0]:
                kinds[kind] = recordings, why

        for kind, one, other, shared in self._pairs(self._after):
            for b in self._members(self._after[other] & ~self._after[one]):
                seen = self._counts[other, b]
                what = f"{other} > {b} is in {seen} of the recordings"
                add(kind, one, b, seen, f"{what}, and {_calls(shared, 'follows', 'follow')} both {other} and {one}")
        called = {b for _, b in self._counts}
        for kind, one, other, shared in self._pairs({b: self._before[b] for b in self._names if b in called}):
            for a in self._members(self._before[other] & ~self._before[one]):
                seen = self._counts[a, other]
                what = f"{a} > {other} is in {seen} of the recordings"
                add(kind, a, one, seen, f"{what}, and {_calls(shared, 'leads', 'lead')} to both {other} and {one}")
        for a, b in self._swapped():
            first = self._best(
                (self._both[c, b], self._counts[a, c], c) for c in self._members(self._after[a] & self._around[b])
            )
            second = self._best(
                (self._both[a, d], self._counts[d, b], d) for d in self._members(self._before[b] & self._around[a])
            )
            (seen, c), (also, d) = first, second
            least = min(seen, also)
            orders = f"{a} and {d}" if (a, d) == (b, c) else f"{a} and {d}, and {c} and {b},"
            why = f"{orders} come in either order, and {a} > {c} and {d} > {b} are there"
            add(Kind.SWAPPED, a, b, least, f"{why} (in {least} of the recordings)")
        for (a, b), kinds in found.items():
            order = [kind for kind in Kind if kind in kinds]
            strongest = max(kinds.values(), key=lambda one: one[0])
            yield Likely(serving, a, b, strongest[0], tuple(order), strongest[1])

    def _pairs(self, sets: dict[str, int]) -> Iterator[tuple[Kind, str, str, int]]:
        """States whose sets are alike, or that are interchangeable, in either order; and how much they share."""
        for one, mine in sets.items():
            for other, theirs in sets.items():
                shared = (mine & theirs).bit_count()
                if one == other or not shared or not theirs & ~mine:
                    continue
                if shared >= _SHARED and shared >= _OF_ALL * (mine | theirs).bit_count():
                    yield Kind.ALIKE, one, other, shared
                fewer = min(mine.bit_count(), theirs.bit_count())
                call, twin = states.call_of(one), states.call_of(other)
                if shared >= _OF_FEWER * fewer and call is not None and call != twin in family_of(call):
                    yield Kind.INTERCHANGEABLE, one, other, shared

    def _swapped(self) -> Iterator[tuple[str, str]]:
        """Steps that are not there, with what comes in either order on both sides."""
        ahead, behind = (dict.fromkeys(self._names, 0) for _ in range(2))
        for a in self._names:
            for c in self._members(self._after[a]):
                ahead[a] |= self._around[c]
            for d in self._members(self._around[a]):
                behind[a] |= self._after[d]
            for b in self._members(ahead[a] & behind[a] & ~self._after[a]):
                yield a, b

    def _best(self, given: Iterable[tuple[int, int, str]]) -> tuple[int, str]:
        """The state with the most evidence, which is the lesser of two numbers; of several the first by name."""
        return max(((min(one, other), name) for one, other, name in given), key=lambda found: found[0])

    def _members(self, mask: int) -> Iterator[str]:
        while mask:
            low = mask & -mask
            yield self._names[low.bit_length() - 1]
            mask ^= low


def _calls(number: int, one: str, many: str) -> str:
    return f"{number} calls {many}" if number != 1 else f"1 call {one}"
