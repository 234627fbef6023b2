"""A seccomp profile in Docker's and podman's form as a value; scmm_oci.oci.rich reads and writes it."""

from __future__ import annotations

from dataclasses import dataclass

from scmm_oci.oci.seccomp import Condition, Flag, OciAction, Rule
from scmm_oci.schema import place
from scmm_oci.tables import errnos


@dataclass(frozen=True)
class Filter:
    """What a rule depends on; empty parts ask for nothing.

    Attributes:
        caps: with ``CAP_``; looked for in the container's bounding set.
        arches: the machine, in libseccomp's words (amd64, arm64, s390x …), of which there is one in every container.
        min_kernel: version and major revision; the machine's kernel is at least this.
    """

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return bool(self.caps or self.arches or self.min_kernel)


@dataclass(frozen=True)
class ArchMapping:
    """``SCMP_ARCH_*`` of a machine, and of those that its kernel runs beside it."""

    architecture: str
    sub_architectures: tuple[str, ...] = ()


@dataclass(frozen=True)
class RichRule:
    """An action for some calls, in some containers.

    Attributes:
        errno_ret, errno_name: the same number twice where both stand there. podman refuses a name that it does not
            know (4.3: 52 of ours, EINTR and EPROTO among them), so a number alone serves more engines.
        includes: the rule is taken where all of ``caps``, one of ``arches`` and the kernel are there.
        excludes: it is not taken where one of ``caps``, one of ``arches`` or the kernel is there.
    """

    names: tuple[str, ...]
    action: OciAction
    errno_ret: int | None = None
    errno_name: str = ""
    args: tuple[Condition, ...] = ()
    comment: str = ""
    includes: Filter = Filter()
    excludes: Filter = Filter()

    @property
    def rule(self) -> Rule:
        """The rule where it is taken, as runtimes have it."""
        return Rule(self.names, self.action, _number(self.errno_ret, self.errno_name), self.args)


@dataclass(frozen=True)
class RichProfile:
    """A whole profile.

    Attributes:
        default_errno_ret, default_errno_name: the same number twice where both stand there.
        architectures: stands there without ``arch_map`` only.
        flags: None and empty differ for a runtime that is given the profile, but not for engines: they write none.
    """

    default_action: OciAction
    default_errno_ret: int | None = None
    default_errno_name: str = ""
    architectures: tuple[str, ...] = ()
    arch_map: tuple[ArchMapping, ...] = ()
    flags: tuple[Flag, ...] | None = None
    listener_path: str | None = None
    listener_metadata: str | None = None
    syscalls: tuple[RichRule, ...] = ()

    @property
    def default_errno_number(self) -> int | None:
        """The number of the default's errno, whichever way it is written; None where it is not."""
        return _number(self.default_errno_ret, self.default_errno_name)

    @property
    def more_than_plain(self) -> tuple[str, ...]:
        """The places of all that the runtime-spec's form has no word for; empty for a profile in that form."""
        found = [".defaultErrno"] if self.default_errno_name else []
        found += [".archMap"] if self.arch_map else []
        for index, rule in enumerate(self.syscalls):
            parts = {
                "errno": rule.errno_name,
                "comment": rule.comment,
                "includes": rule.includes,
                "excludes": rule.excludes,
            }
            found += [place(("syscalls", index, key)) for key, there in parts.items() if there]
        return tuple(found)


def _number(number: int | None, name: str) -> int | None:
    # podman looks at the name first; parse has made sure that they agree.
    return number if number is not None or not name else errnos.number(name)
