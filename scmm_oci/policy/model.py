"""A policy as frozen values, in the vocabulary of the seed system and our extensions to it (docs/formats.md).

Built by policy.document from YAML and by policy.infer from captures; read by the compilers. Names in it have been
checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from scmm_oci.capture.model import Phase, SessionKind
from scmm_oci.tables.arch import Arch


class Action(StrEnum):
    """What happens to a system call. ``kill`` ends the whole process; ``deny`` answers an errno."""

    ALLOW = "allow"
    DENY = "deny"
    LOG = "log"
    KILL = "kill"
    TRAP = "trap"


class ArgType(StrEnum):
    """What an argument is. A filter can test the first two only; the others are memory addresses."""

    INTEGER = "integer"
    FLAGS = "flags"
    POINTER = "pointer"
    PATH = "path"
    STRING = "string"


class MatchType(StrEnum):
    """How the pattern of a match is read."""

    EXACT = "exact"
    GLOB = "glob"
    REGEX = "regex"
    TEMPLATE = "template"


class OnMissing(StrEnum):
    """What a file rule does when its path is not there."""

    PRECREATE = "precreate"
    PARENTDIR = "parentdir"
    SKIP = "skip"


class Protocol(StrEnum):
    """Protocols of network rules."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True)
class Metadata:
    """What the policy is about; ``generated_at`` is the end of the last recording it was made from."""

    name: str = ""
    description: str = ""
    generated_from: str | None = None
    target_executable: str | None = None
    generated_at: str | None = None


@dataclass(frozen=True)
class RunAs:
    """Numeric ids to run as."""

    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class Settings:
    """What holds for the whole policy.

    Attributes:
        default_errno: the name that ``deny`` answers, by default and in rules without an errno of their own.
        architectures: the ABIs that the policy is for: ``arch`` first, then those that its kernel runs beside it.
    """

    default_action: Action = Action.DENY
    default_errno: str = "EPERM"
    log_denials: bool = False
    arch: Arch = Arch.X86_64
    architectures: tuple[Arch, ...] = (Arch.X86_64,)
    run_as: RunAs | None = None


@dataclass(frozen=True)
class Match:
    """One pattern for an argument."""

    pattern: str
    type: MatchType = MatchType.EXACT


@dataclass(frozen=True)
class Constraint:
    """What an argument must be. ``arg`` counts from 0; ``allowed`` and ``denied`` are flag names."""

    arg: int
    type: ArgType
    match: tuple[Match, ...] = ()
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """Where a rule comes from: phases and sessions that made the call, how often, and how often it was refused."""

    phases: tuple[Phase, ...]
    sessions: tuple[SessionKind, ...]
    count: int
    denied: int = 0


@dataclass(frozen=True)
class SyscallRule:
    """An action for one system call, if all constraints hold. ``errno`` goes with deny; None is the default errno."""

    name: str
    action: Action
    errno: str | None = None
    constraints: tuple[Constraint, ...] = ()
    origin: Origin | None = None


@dataclass(frozen=True)
class PathRule:
    """Access rights beneath a path, as words of tables.vocabulary."""

    path: str
    access: tuple[str, ...]
    on_missing: OnMissing = OnMissing.SKIP


@dataclass(frozen=True)
class NetworkRule:
    """Peers and ports. Addresses are networks in CIDR form, or ``any``; observed ones are for information."""

    protocol: Protocol
    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    observed_addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """Network rules by direction."""

    allow_loopback: bool = False
    outbound: tuple[NetworkRule, ...] = ()
    inbound: tuple[NetworkRule, ...] = ()


@dataclass(frozen=True)
class Policy:
    """A whole policy. ``filesystem`` and ``network`` are None where it does not speak of them."""

    metadata: Metadata = field(default_factory=Metadata)
    settings: Settings = field(default_factory=Settings)
    syscalls: tuple[SyscallRule, ...] = ()
    capabilities: tuple[str, ...] = ()
    filesystem: tuple[PathRule, ...] | None = None
    network: Network | None = None
