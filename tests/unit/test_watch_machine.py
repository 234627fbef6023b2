"""Compiled policies as the watch's bitmaps: they allow what the reference machine does, and bounds are told."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmm_oci.compiled.polfile import codes
from scmm_oci.compiled.polfile import model as compiled
from scmm_oci.errors import BadInput
from scmm_oci.policy.machine import ANY, Machine
from scmm_oci.policy.model import Transition
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.watch import wire
from scmm_oci.watch.machine import MOST_TRIPLES, machines_of, numbers_of
from scmm_oci.watch.machines import Image, Machines

ARCH = Arch.X86_64


def file(
    edges: dict[Arch, tuple[tuple[int, int], ...]], *machines: compiled.Machine, watch: bool = True
) -> compiled.PolicyFile:
    return compiled.PolicyFile(
        filters=(),
        ruleset=None,
        identity=compiled.Identity(),
        transitions=tuple(compiled.Transitions(arch, pairs) for arch, pairs in edges.items()),
        metadata=compiled.Metadata(),
        watch=compiled.Watch("alert", machines) if watch else None,
    )


def code(word: str) -> int:
    found = codes.code_of(word, ARCH)
    assert found is not None
    return found


def kernel_allows(image: Image, before: int, state: int, to: int) -> bool:
    """What bpf/watch.bpf.c makes of a machine: judge() and look_deep()."""
    deep, _, *_ = wire.MACHINE_HEAD.unpack_from(image.with_deep(1 if image.deep else 0))

    def bit(data: bytes, offset: int, number: int) -> bool:
        return bool(data[offset + number // 8] >> number % 8 & 1)

    row = bit(image.body, wire.MACHINE_HEAD.size, state * wire.STATES + to)
    if not deep or before >= wire.STATES or to == state:
        return row
    multiplier, _ = wire.DEEP_HEAD.unpack_from(image.deep)
    if not bit(image.deep, wire.DEEP_HEAD.size, before * wire.STATES + state):
        return row
    key = (before << 20 | state << 10 | to) + 1
    slot = (key * multiplier & 0xFFFFFFFF) >> 18
    triples = image.deep[wire.DEEP_HEAD.size + wire.MACHINE_WORDS * 8 :]
    for probe in range(wire.TRIPLE_PROBES):
        at = (slot + probe) % wire.TRIPLES * 4
        found = int.from_bytes(triples[at : at + 4], "little")
        if found in (0, key):
            return found == key
    return False


CALLS = ("read", "write", "openat:read", "openat:write", "socket:inet", "socket:other", "execve")
STATES = (*CALLS, "openat", "start", "start:exec", "start:fork", "signal", "foreign")
FOLLOWING = st.lists(st.sampled_from([*CALLS, "openat", "socket"]), max_size=4).map(tuple)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.dictionaries(st.sampled_from(STATES), FOLLOWING, max_size=6),
    deep=st.dictionaries(st.tuples(st.sampled_from(STATES), st.sampled_from(CALLS)), FOLLOWING, max_size=4),
)
def test_bitmaps_allow_what_the_reference_allows(rows: dict[str, Any], deep: dict[tuple[str, str], Any]) -> None:
    deep = {pair: to for pair, to in deep.items() if pair[0] != pair[1]}
    transitions = [Transition.of(key, to) for key, to in rows.items()]
    transitions += [Transition.of(f"{before} > {state}", to) for (before, state), to in deep.items()]
    reference = Machine.built(tuple(transitions), None, ARCH)
    assert reference is not None
    edges = tuple(sorted({(code(state), code(to)) for state, following in rows.items() for to in following}))
    triples = {
        (code(before), code(state), third)
        for (before, state), following in deep.items()
        for third in ([code(to) for to in following] or [compiled.NOTHING])
    }
    images = machines_of(file({ARCH: edges}, compiled.Machine(ARCH, deep=tuple(sorted(triples)))), machine="x86_64")
    image = images.images[0]
    assert image is not None and images.images[1:3] == (None, None)
    numbers = states.numbers(ARCH)
    singles = [*CALLS, "start:exec", "start:fork", "start:thread", "signal", "foreign"]
    for state, to in product(singles, CALLS):
        for before in (None, *singles):
            if before != state:
                number = wire.NONE if before is None else numbers[before]
                expected = reference.allows(before, state, to)
                assert kernel_allows(image, number, numbers[state], numbers[to]) == expected, (before, state, to)
    for to in CALLS:
        assert kernel_allows(image, wire.NONE, wire.ANY, numbers[to]) == reference.allows(None, ANY, to)


def test_numbers_of_codes() -> None:
    known = states.numbers(ARCH)
    assert numbers_of(code("start"), ARCH) == tuple(known[word] for word in states.STARTS)
    assert numbers_of(257, ARCH) == (257, known["openat:write"])
    assert numbers_of(code("openat:write"), ARCH) == (known["openat:write"],)
    assert numbers_of(0, ARCH) == (0,)
    # Of x86 the word `signal` is the handler, and the number the call.
    assert numbers_of(compiled.SIGNAL, Arch.X86) == (known["signal"],)
    assert numbers_of(48, Arch.X86) == (48,)
    # A call that is newer than the tables, and one that they have no room for.
    assert numbers_of(500, ARCH) == (500,)
    assert numbers_of(983045, Arch.ARM) == ()


def test_what_cannot_be_watched_here_is_told() -> None:
    with pytest.raises(BadInput, match="no transitions, so there is nothing to watch"):
        machines_of(file({}), machine="x86_64")
    with pytest.raises(BadInput, match="are for aarch64, and this machine is x86_64"):
        machines_of(file({Arch.AARCH64: ((0, 1),)}), machine="x86_64")
    found = machines_of(file({Arch.AARCH64: ((0, 1),)}, watch=False), machine="aarch64").images
    assert found[0] is not None and found[0] is found[3] and found[1] is found[2] is None
    # One of this machine's other ABIs is enough.
    found = machines_of(file({Arch.X86: ((0, 1),)}), machine="x86_64").images
    assert found[0] is None and found[1] is not None


def test_too_many_triples_are_told_and_many_are_held() -> None:
    calls = [number for number in sorted(syscalls.numbers(ARCH).values()) if number < 400]
    every = [(a, b, c) for a in calls[:40] for b in calls[50:60] for c in calls[60:90]]

    def machines(count: int) -> Machines:
        return machines_of(
            file({ARCH: ()}, compiled.Machine(ARCH, deep=tuple(sorted(every[:count])))), machine="x86_64"
        )

    plain = {number for number in calls if len(numbers_of(number, ARCH)) == 1}
    every = [one for one in every if set(one) <= plain]
    assert len(every) > MOST_TRIPLES
    image = machines(MOST_TRIPLES).images[0]
    assert image is not None
    held = set(every[:MOST_TRIPLES])
    assert all(kernel_allows(image, *triple) == (triple in held) for triple in every)
    with pytest.raises(BadInput, match=rf"have {MOST_TRIPLES + 1} triples, and there is room for {MOST_TRIPLES}"):
        machines(MOST_TRIPLES + 1)


def test_phases() -> None:
    serving = compiled.Machine(ARCH, serving_calls=(50,), serving=((50, 1),))
    startup, _, _, serves, *_ = machines_of(file({ARCH: ((0, 50),)}, serving), machine="x86_64").images
    assert startup is not None and serves is not None
    _, switching, *switches = wire.MACHINE_HEAD.unpack_from(startup.body)
    assert switching == 1 and switches[0] == 1 << 50
    assert wire.MACHINE_HEAD.unpack_from(serves.body)[1] == 0
    assert kernel_allows(serves, wire.NONE, 50, 1) and not kernel_allows(startup, wire.NONE, 50, 1)
    assert kernel_allows(startup, wire.NONE, 0, 50) and not kernel_allows(serves, wire.NONE, 0, 50)
    # Start-up that is not judged allows everything, on every ABI.
    images = machines_of(file({}, serving), machine="x86_64").images
    assert all(image is not None and kernel_allows(image, wire.NONE, 571, 500) for image in images[:3])
    assert images[3] is not None and images[4] is images[5] is None
    # A policy without a serving phase goes on as it began.
    images = machines_of(file({ARCH: ((0, 50),)}, compiled.Machine(ARCH)), machine="x86_64").images
    assert images[0] is images[3] is not None


def test_machines_are_kept_in_files() -> None:
    deep = compiled.Machine(ARCH, serving_calls=(50,), serving=((50, 1),), deep=((0, 1, 2),))
    found = machines_of(file({ARCH: ((0, 50),), Arch.X86: ((3, 4),)}, deep), machine="x86_64")
    data = found.to_bytes()
    assert Machines.from_bytes(data) == found and Machines.from_bytes(data).to_bytes() == data
    for wrong in (b"", data[:-1], data + b"x", b"x" + data[1:], data[:12] + b"\xff" + data[13:]):
        with pytest.raises(ValueError, match=r"version|more than"):
            Machines.from_bytes(wrong)


def test_the_same_policy_gives_the_same_bytes() -> None:
    pairs = tuple(sorted((a, b) for a in range(512) for b in range(512)))
    first, second = (machines_of(file({ARCH: pairs}), machine="x86_64") for _ in range(2))
    assert first.to_bytes() == second.to_bytes()
    assert first.images[0] is not None and kernel_allows(first.images[0], wire.NONE, 511, 511)
