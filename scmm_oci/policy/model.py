"""A policy as frozen values, in the vocabulary of the seed system and our extensions to it (docs/formats.md).

Built by policy.document from YAML and by policy.infer from captures; read by the compilers. Names in it have been
checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from scmm_oci.capture.model import Phase, SessionKind
from scmm_oci.tables.arch import Arch


class Action(StrEnum):
    """What happens to a system call (seccomp(2)). ``kill`` ends the whole process; ``deny`` answers an errno.

    From the least to the most restrictive, as the kernel ranks them where filters disagree; ``notify`` stands below
    ``deny`` because a supervisor may still refuse.
    """

    ALLOW = "allow"
    LOG = "log"
    TRACE = "trace"
    NOTIFY = "notify"
    DENY = "deny"
    TRAP = "trap"
    KILL_THREAD = "kill_thread"
    KILL = "kill"

    @property
    def rank(self) -> int:
        """0 for allow, and more the more restrictive the action is."""
        return _RANKS[self]

    @property
    def passes(self) -> bool:
        """Whether the call is made without asking anyone: allow and log."""
        return self in (Action.ALLOW, Action.LOG)


_RANKS = {action: rank for rank, action in enumerate(Action)}


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


class Operator(StrEnum):
    """Comparisons of the OCI runtime-spec, on all 64 bits; MASKED_EQ is ``(argument & mask) == value``."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GE = "ge"
    GT = "gt"
    MASKED_EQ = "masked_eq"


class OnMissing(StrEnum):
    """What a file rule does when its path is not there."""

    PRECREATE = "precreate"
    PARENTDIR = "parentdir"
    SKIP = "skip"


class Protocol(StrEnum):
    """Protocols of network rules."""

    TCP = "tcp"
    UDP = "udp"


class LandlockScope(StrEnum):
    """What a Landlock domain keeps its processes from reaching outside of it (landlock(7), ABI 6)."""

    ABSTRACT_UNIX_SOCKET = "abstract_unix_socket"
    SIGNAL = "signal"


class FilterFlag(StrEnum):
    """Flags of seccomp(2), SECCOMP_SET_MODE_FILTER, beside LOG, which is ``log_denials``."""

    SPEC_ALLOW = "spec_allow"
    TSYNC = "tsync"
    WAIT_KILLABLE_RECV = "wait_killable_recv"


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
class Listener:
    """Where calls answered with ``notify`` are decided: a UNIX socket, and what it is told about the container."""

    path: str | None = None
    metadata: str | None = None


@dataclass(frozen=True)
class ArchMap:
    """A line of an engine's archMap: a machine's ABI and those that its kernel runs beside it, as ``SCMP_ARCH_*``."""

    architecture: str
    sub_architectures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What holds for the whole policy.

    Attributes:
        default_errno: the name that ``deny`` answers, by default and in rules without an errno of their own.
        default_message: the number that a tracer gets with a default of ``trace``.
        architectures: the ABIs that the policy is for: ``arch`` first, then those that its kernel runs beside it.
        bad_arch_action: what happens to calls of any other ABI.
        flags: None leaves them to the one who loads the filter.
        arch_map: of an imported profile; only written back.
    """

    default_action: Action = Action.DENY
    default_errno: str = "EPERM"
    default_message: int | None = None
    log_denials: bool = False
    arch: Arch = Arch.X86_64
    architectures: tuple[Arch, ...] = (Arch.X86_64,)
    bad_arch_action: Action = Action.KILL
    flags: tuple[FilterFlag, ...] | None = None
    listener: Listener | None = None
    arch_map: tuple[ArchMap, ...] = ()
    run_as: RunAs | None = None


@dataclass(frozen=True)
class Match:
    """One pattern for an argument."""

    pattern: str
    type: MatchType = MatchType.EXACT


@dataclass(frozen=True)
class Constraint:
    """What an argument must be. ``arg`` counts from 0; ``allowed`` and ``denied`` are names of values, or numbers.

    Either ``op`` with ``value`` (and ``mask``), or any of ``match``, ``allowed`` and ``denied``; policy.constraints
    says what they mean. Values are numbers, or text: names joined by ``|``.
    """

    arg: int
    type: ArgType
    match: tuple[Match, ...] = ()
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    op: Operator | None = None
    value: int | str | None = None
    mask: int | str | None = None


@dataclass(frozen=True)
class Origin:
    """Where a rule comes from, for readers.

    Attributes:
        count: how often it was used in the recordings; ``denied``: how often a filter refused the call.
        programs: the files of the programs that did; empty where that is not known.
        sessions: the sessions they were in.
        observed: how many different paths a file rule stands for; ``recordings``: in how many
            recordings it was, 0 for all.
        reason: why the rule is wider than what was seen.
    """

    count: int = 0
    denied: int = 0
    phases: tuple[Phase, ...] = (Phase.APP,)
    sessions: tuple[SessionKind, ...] = (SessionKind.MAIN,)
    programs: tuple[str, ...] = ()
    observed: int = 0
    recordings: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Applies:
    """When an engine takes a rule: for containers with these capabilities, machines (as Go names them), kernels."""

    capabilities: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    min_kernel: str | None = None


@dataclass(frozen=True)
class SyscallRule:
    """An action for one system call or group (``@name``), if all constraints hold.

    Attributes:
        errno: goes with deny; None is the default errno.
        message: goes with trace.
        includes, excludes: when an engine takes the rule, and when it does not; None is always and never.
    """

    name: str
    action: Action
    errno: str | None = None
    constraints: tuple[Constraint, ...] = ()
    origin: Origin | None = None
    message: int | None = None
    includes: Applies | None = None
    excludes: Applies | None = None
    comment: str = ""

    @property
    def is_group(self) -> bool:
        """Whether it is for all calls of a group."""
        return self.name.startswith("@")


@dataclass(frozen=True)
class PathRule:
    """Access rights on what a pattern (policy.paths.patterns) stands for, as words of tables.vocabulary.

    ``excluded`` are paths beneath that get none of them (``except`` in the text; policy.paths.exceptions).
    """

    path: str
    access: tuple[str, ...]
    on_missing: OnMissing = OnMissing.SKIP
    origin: Origin | None = None
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class PortRange:
    """Ports from first to last, both included. Port 0 in a bind stands for any port that the kernel chooses."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True)
class NetworkRule:
    """Peers and ports. Addresses are networks in CIDR form, or ``any``; observed ones are for information.

    No ports means every port, no addresses every address.
    """

    protocol: Protocol
    addresses: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()
    observed_addresses: tuple[str, ...] = ()
    origin: Origin | None = None


@dataclass(frozen=True)
class Network:
    """Network rules by direction."""

    allow_loopback: bool = False
    outbound: tuple[NetworkRule, ...] = ()
    inbound: tuple[NetworkRule, ...] = ()


# Between the two states of a transition's key.
AFTER = " > "


@dataclass(frozen=True)
class Transition:
    """Which calls may follow one in a thread: words of tables.states, and groups.

    Attributes:
        call: what they follow; can be a beginning (``start``, ``signal``, …).
        before: only if ``call`` itself came after this, repetitions left out; then these and no others may follow.
            Empty: whatever was before.
    """

    call: str
    to: tuple[str, ...]
    before: str = ""

    @property
    def key(self) -> str:
        """What stands in front of the list in a document: ``read``, or ``connect > sendto``."""
        return f"{self.before}{AFTER}{self.call}" if self.before else self.call

    @classmethod
    def of(cls, key: str, to: Iterable[str]) -> Transition:
        """The transition of a document's key and list."""
        before, _, call = key.rpartition(AFTER)
        return cls(call, tuple(to), before)


@dataclass(frozen=True)
class Serving:
    """What holds for a process, and those it starts, from the moment that it makes one of these calls."""

    calls: tuple[str, ...]
    transitions: tuple[Transition, ...]


class WatchAction(StrEnum):
    """What happens when a call is made that the transitions do not have. In order of severity."""

    COUNT = "count"
    ALERT = "alert"
    FREEZE = "freeze"
    KILL = "kill"


@dataclass(frozen=True)
class Policy:
    """A whole policy. What it does not speak of is None: then nothing is asked of that layer."""

    metadata: Metadata = field(default_factory=Metadata)
    settings: Settings = field(default_factory=Settings)
    syscalls: tuple[SyscallRule, ...] = ()
    capabilities: tuple[str, ...] | None = None
    filesystem: tuple[PathRule, ...] | None = None
    network: Network | None = None
    scopes: tuple[LandlockScope, ...] | None = None
    transitions: tuple[Transition, ...] | None = None
    serving: Serving | None = None
    watch: WatchAction | None = None
