"""A compiled policy as values: what is in a .scmm-pol file, in the kernel's terms.

Numbers stand as the kernel takes them: return values in filters, raw 64-bit masks of rights (linux/landlock.h), bits
of capabilities, ids. Nothing depends on the machine that reads it but what the file says: the launcher takes the
filter for its own architecture, masks rights by the ABI that it finds, and opens the paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from scmm_oci.compiled.bpf import Program
from scmm_oci.tables.arch import Arch


class ComponentKind(IntEnum):
    """What one component of a path stands for."""

    NAME = 0
    GLOB = 1
    HOME = 2
    USER = 3


class PathKind(IntEnum):
    """What a path's rule is for (policy.paths.patterns.Kind)."""

    EXACT = 0
    FILES = 1
    BENEATH = 2


class Missing(IntEnum):
    """What becomes of a path that is not there (policy.model.OnMissing)."""

    SKIP = 0
    PRECREATE = 1
    PARENTDIR = 2


# What stands for bytes of a name: None any number of any bytes, else one byte of these.
Glob = tuple[frozenset[int] | None, ...]


@dataclass(frozen=True)
class Component:
    """A component: a name's bytes, or what its bytes match; ``${HOME}`` and ``${USER}`` have neither."""

    kind: ComponentKind
    name: bytes = b""
    glob: Glob = ()

    def __hash__(self) -> int:
        # An enumeration's own hash is slow, and there are many components.
        return hash((self.name, self.glob))


@dataclass(frozen=True)
class PathRule:
    """Rights on paths.

    Attributes:
        access: bits LANDLOCK_ACCESS_FS_*.
        abi: the least Landlock ABI that holds all of them.
        plain_from: the first component, counted from 1, from which on nothing that is found is a symbolic link; 0 where
            links are followed in all of them.
    """

    components: tuple[Component, ...]
    kind: PathKind
    access: int
    on_missing: Missing
    abi: int
    plain_from: int = 0


@dataclass(frozen=True, order=True)
class PortRule:
    """Rights on the ports from first to last, both included: bits LANDLOCK_ACCESS_NET_*."""

    first: int
    last: int
    access: int
    abi: int


@dataclass(frozen=True)
class Ruleset:
    """One Landlock ruleset. What is handled is refused but for the rules.

    Attributes:
        handled_fs, handled_net, scoped: members of struct landlock_ruleset_attr, all that some ABI has.
        abi: the least ABI that holds all of it.
        has_addresses: the policy names addresses of peers, which Landlock does not hold: whoever says what holds has to
            say so.
    """

    handled_fs: int
    handled_net: int
    scoped: int
    abi: int
    paths: tuple[PathRule, ...] = ()
    ports: tuple[PortRule, ...] = ()
    has_addresses: bool = False


@dataclass(frozen=True)
class Filter:
    """The filter for kernels of one architecture, and its twin that refuses nothing.

    Attributes:
        arch: the kernel's own; the filter also answers the ABIs that it runs beside (Arch.beside).
        flags: bits SECCOMP_FILTER_FLAG_* for seccomp(2); None leaves them to the launcher.
        permissive: the twin: what would be refused returns SECCOMP_RET_LOG with data 1.
    """

    arch: Arch
    flags: int | None
    program: Program
    permissive: Program


@dataclass(frozen=True)
class Identity:
    """Who runs the program. None leaves it as it is.

    Attributes:
        capabilities: bits 1 << CAP_*, all that the program keeps.
    """

    uid: int | None = None
    gid: int | None = None
    capabilities: int | None = None


# States of transitions beside numbers of calls: where threads and handlers begin (START is any of the three that
# follow), and classes of calls (tables.states), from CLASSES on in the order of STATE_WORDS.
START = 0xFFFFFFFF
SIGNAL = 0xFFFFFFFE
EXEC = 0xFFFFFFFD
FORK = 0xFFFFFFFC
THREAD = 0xFFFFFFFB
FOREIGN = 0xFFFFFFFA
CLASSES = 0x10000

# Never changed, only added to: files of other versions have them.
STATE_WORDS = (
    *("open:read", "open:write", "openat:read", "openat:write"),
    *("mmap:data", "mmap:exec", "mmap2:data", "mmap2:exec"),
    *("mprotect:data", "mprotect:exec", "pkey_mprotect:data", "pkey_mprotect:exec"),
    *("socket:unix", "socket:inet", "socket:inet6", "socket:netlink", "socket:packet", "socket:other"),
    *("socketpair:unix", "socketpair:inet", "socketpair:inet6", "socketpair:netlink", "socketpair:packet"),
    "socketpair:other",
)
# What the codes of classes have room for.
CLASSES_END = 0x20000


@dataclass(frozen=True)
class Transitions:
    """Which call may follow which in a thread, on one ABI: pairs of states (see `codes`), sorted.

    A call's own number (x32's without its bit) stands for all classes of the call.
    """

    arch: Arch
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Machine:
    """What an ABI has beyond its plain transitions. States are as in Transitions.

    Attributes:
        serving_calls: with which of these a process goes over to the serving transitions; None: it never does.
        serving: the edges that hold from then on, sorted.
        deep: (before, from, to), sorted: where a pair (before, from) is among them, only its third states may
            follow; NOTHING for a pair that nothing may follow.
        serving_deep: the same for a process that serves.
    """

    arch: Arch
    serving_calls: tuple[int, ...] | None = None
    serving: tuple[tuple[int, int], ...] = ()
    deep: tuple[tuple[int, int, int], ...] = ()
    serving_deep: tuple[tuple[int, int, int], ...] = ()


# The third of a triple whose pair nothing may follow; states that something follows are below it, or beginnings.
NOTHING = 0xFFFFFFF0


@dataclass(frozen=True)
class Watch:
    """What a watch is to do (a word of policy.model.WatchAction), and what ABIs have beyond plain transitions."""

    action: str
    machines: tuple[Machine, ...] = ()


@dataclass(frozen=True)
class Metadata:
    """What the policy is about, for people. Empty where the policy does not say.

    Attributes:
        policy_digest: SHA-256 of the policy's text, 64 hexadecimal digits.
        compiler: the version of scmm-oci that wrote the file.
    """

    name: str = ""
    description: str = ""
    target_executable: str = ""
    generated_from: str = ""
    generated_at: str = ""
    policy_digest: str = ""
    compiler: str = ""


@dataclass(frozen=True)
class PolicyFile:
    """All of a .scmm-pol file. A layer that is None, or a tuple that is empty, is not asked for."""

    filters: tuple[Filter, ...]
    ruleset: Ruleset | None
    identity: Identity
    transitions: tuple[Transitions, ...]
    metadata: Metadata
    watch: Watch | None = None
