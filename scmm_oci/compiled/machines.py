"""The machines in a compiled policy, by word: the way back from numbers. Pure.

Called by whoever shows or draws them; what a watch makes of the same numbers is in watch.machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from scmm_oci.compiled.polfile import codes
from scmm_oci.compiled.polfile import model as compiled
from scmm_oci.compiled.polfile.model import NOTHING, Transitions, Watch
from scmm_oci.policy.machine import Machine
from scmm_oci.policy.order import Table
from scmm_oci.tables.arch import Arch


def machines(transitions: Sequence[Transitions], watch: Watch | None) -> tuple[Machine, ...]:
    """The machine of each ABI that has one: its own first, in the order of a file's transitions.

    Calls that have classes are taken apart into these, and so is ``start``. A call that the tables do not know has its
    number as its word.
    """
    plain = {one.arch: one for one in transitions}
    more = {one.arch: one for one in watch.machines} if watch is not None else {}
    found = []
    for arch in dict.fromkeys([*plain, *more]):
        beyond = more.get(arch, compiled.Machine(arch))
        starting = table(plain[arch].edges, beyond.deep, arch) if arch in plain else None
        if beyond.serving_calls is None:
            found.append(Machine(arch, starting))
            continue
        switches = frozenset(codes.word_of(call, arch) for call in beyond.serving_calls)
        found.append(Machine(arch, starting, table(beyond.serving, beyond.serving_deep, arch), switches))
    return tuple(found)


def table(edges: Iterable[tuple[int, int]], deep: Iterable[tuple[int, int, int]], arch: Arch) -> Table:
    """What may follow what, of the pairs and triples of an ABI."""
    rows: defaultdict[str, set[str]] = defaultdict(set)
    lists: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for first, to in edges:
        following = codes.words_of(to, arch)
        for state in codes.words_of(first, arch):
            rows[state].update(following)
    for earlier, first, to in deep:
        following = () if to == NOTHING else codes.words_of(to, arch)
        for before in codes.words_of(earlier, arch):
            for state in codes.words_of(first, arch):
                if before != state:
                    lists[before, state].update(word for word in following if word != state)
    return Table(
        {state: frozenset(to) for state, to in rows.items()}, {pair: frozenset(to) for pair, to in lists.items()}
    )
