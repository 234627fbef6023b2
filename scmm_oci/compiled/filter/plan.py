"""What a filter is to answer: for each machine a line of system call numbers, and what holds on each piece of it.

Made of a policy by `compiled.filter.of_policy` or of a profile by `compiled.filter.of_profile`; the generator makes
instructions of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from scmm_oci.compiled.bpf import ByteOrder
from scmm_oci.policy.constraints import Alternative

LAST_NUMBER = (1 << 32) - 1


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """What is returned if all tests hold; without tests, always."""

    tests: Alternative
    value: int


# The first whose tests hold decides. The last has no tests.
Decision = tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Numbers from first to last, both included, that are answered alike.

    Attributes:
        weight: how often these calls are expected to have the filter run, as a share of nothing in particular.
            The kernel does not run a filter for calls that it allows whatever their arguments (since Linux 5.11).
    """

    first: int
    last: int
    decision: Decision
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """All ABIs with one value of ``seccomp_data.arch``.

    Attributes:
        audit: that value.
        bits: the width of an argument: of 32 the kernel takes the low word only, whatever a filter sees above it.
        line: pieces that cover every number from 0 to LAST_NUMBER, in order.
    """

    audit: int
    bits: int
    byte_order: ByteOrder
    line: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole filter: machines, the one that is expected first, and what every other machine's calls get."""

    machines: tuple[Machine, ...]
    bad_arch: int


def constant(value: int) -> Decision:
    """The decision that does not look at arguments."""
    return (Case((), value),)
