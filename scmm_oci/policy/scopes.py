"""The containers that a rule is taken for, as a set: what two rules share, and what one leaves of another.

``includes`` and ``excludes`` of a rule (scmm_oci.policy.container says what they mean) come to a conjunction: some
capabilities there and others not, one of some machines, a range of kernels. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from scmm_oci.errors import BadInput, Problem
from scmm_oci.oci.richcheck import ARCHES, kernel_version
from scmm_oci.policy.model import Applies, SyscallRule
from scmm_oci.tables.arch import Arch

# libseccomp's names of machines, where they are not ours.
MACHINES = {Arch.X86_64: "amd64", Arch.AARCH64: "arm64"}

_EVERY = frozenset(ARCHES)
_Version = tuple[int, int]
_FIRST: _Version = (0, 0)
# Above every version that a policy can name.
_LAST: _Version = (1 << 16, 0)

# More pieces than any profile needs; hostile ones could ask for 2 ** 40.
_MOST = 1024


@dataclass(frozen=True)
class Scope:
    """The containers with all of ``present`` and none of ``absent``, on one of some machines, with one of some kernels.

    Attributes:
        machines: engines' words for them (amd64, arm64 …).
        since, before: version and major revision of the first kernel that is among them, and of the first after them.
    """

    present: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    machines: frozenset[str] = _EVERY
    since: _Version = _FIRST
    before: _Version = _LAST

    @staticmethod
    def of(rule: SyscallRule) -> Scope:
        """The containers that a rule is taken for."""
        asked, refused = rule.includes or Applies(), rule.excludes or Applies()
        machines = frozenset(asked.architectures) & _EVERY if asked.architectures else _EVERY
        return Scope(
            frozenset(asked.capabilities),
            frozenset(refused.capabilities),
            machines - set(refused.architectures),
            _FIRST if asked.min_kernel is None else kernel_version(asked.min_kernel),
            _LAST if refused.min_kernel is None else kernel_version(refused.min_kernel),
        )

    def __bool__(self) -> bool:
        return not self.present & self.absent and bool(self.machines) and self.since < self.before

    def __and__(self, other: Scope) -> Scope:
        return Scope(
            self.present | other.present,
            self.absent | other.absent,
            self.machines & other.machines,
            max(self.since, other.since),
            min(self.before, other.before),
        )

    def __sub__(self, other: Scope) -> tuple[Scope, ...]:
        """What is left of this without the other: scopes that have no container in common."""
        if not self & other:
            return (self,) if self else ()
        left: list[Scope] = []
        rest = self
        for word in sorted(other.present - self.present):
            left.append(replace(rest, absent=rest.absent | {word}))
            rest = replace(rest, present=rest.present | {word})
        for word in sorted(other.absent - self.absent):
            left.append(replace(rest, present=rest.present | {word}))
            rest = replace(rest, absent=rest.absent | {word})
        left.append(replace(rest, machines=rest.machines - other.machines))
        rest = replace(rest, machines=rest.machines & other.machines)
        left.append(replace(rest, before=min(rest.before, other.since)))
        left.append(replace(rest, since=max(rest.since, other.before)))
        return tuple(one for one in left if one)

    def without(self, others: Iterable[Scope]) -> tuple[Scope, ...]:
        """What is left of this without any of the others.

        Raises:
            BadInput: it is more than any profile needs.
        """
        left: tuple[Scope, ...] = (self,)
        for other in dict.fromkeys(others):
            left = tuple(piece for one in left for piece in one - other)
            if len(left) > _MOST:
                message = f"rules for one call overlap in more than {_MOST} ways by what containers they are for"
                raise BadInput([Problem(".syscalls", message, "make them exclude one another")])
        return left

    @property
    def includes(self) -> Applies | None:
        """``includes`` of a rule for these containers, or None."""
        machines = tuple(sorted(self.machines)) if self._listed else ()
        found = Applies(tuple(sorted(self.present)), machines, _text(self.since) if self.since != _FIRST else None)
        return found if found != Applies() else None

    @property
    def excludes(self) -> Applies | None:
        """``excludes`` of a rule for these containers, or None."""
        machines = () if self._listed else tuple(sorted(_EVERY - self.machines))
        found = Applies(tuple(sorted(self.absent)), machines, _text(self.before) if self.before != _LAST else None)
        return found if found != Applies() else None

    @property
    def _listed(self) -> bool:
        return 2 * len(self.machines) <= len(_EVERY)


def _text(version: _Version) -> str:
    return f"{version[0]}.{version[1]}"
