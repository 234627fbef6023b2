"""Compiled policies, and their parts, as hypothesis makes them."""

from hypothesis import strategies as st

from scmm_oci.compiled import bpf
from scmm_oci.compiled.polfile.codes import BEGINNINGS
from scmm_oci.compiled.polfile.model import (
    CLASSES,
    FORK,
    NOTHING,
    SIGNAL,
    START,
    STATE_WORDS,
    Component,
    ComponentKind,
    Filter,
    Identity,
    Machine,
    Metadata,
    Missing,
    PathKind,
    PathRule,
    PolicyFile,
    PortRule,
    Ruleset,
    Transitions,
    Watch,
)
from scmm_oci.compiled.polfile.paths import ANY_BYTE
from scmm_oci.tables import landlock
from scmm_oci.tables.arch import Arch

# Small names, so that paths collide; and bytes that mean something in patterns.
NAMES = st.binary(min_size=1, max_size=4) | st.sampled_from([b"etc", b"usr", b"\xc3\xa9", b"a*", b"$x", b"\\x80"])


@st.composite
def names(draw):
    data = draw(NAMES).replace(b"\0", b"0").replace(b"/", b"_")
    return Component(ComponentKind.NAME, b"..." if data in (b".", b"..") else data)


SETS = st.frozensets(st.sampled_from(sorted(ANY_BYTE)), min_size=1, max_size=6)
ASCII_SETS = st.frozensets(st.sampled_from(list(b"!^-[\\]_ab.0$*")), min_size=1, max_size=6)
BUT_SETS = ASCII_SETS.map(lambda one: ANY_BYTE - one)
TOKENS = (
    st.none() | SETS | ASCII_SETS | BUT_SETS | st.just(ANY_BYTE) | st.sampled_from(b"a.$").map(lambda b: frozenset([b]))
)


@st.composite
def globs(draw):
    tokens = draw(st.lists(TOKENS, min_size=1, max_size=5))
    kept = [one for index, one in enumerate(tokens) if index == 0 or one is not None or tokens[index - 1] is not None]
    return Component(ComponentKind.GLOB, glob=tuple(kept))


@st.composite
def paths(draw):
    """Components and the kind of a path."""
    components = draw(st.lists(names() | globs() | st.just(Component(ComponentKind.USER)), max_size=4))
    if draw(st.booleans()):
        components = [Component(ComponentKind.HOME), *components]
    wild = bool(components) and components[-1].kind is ComponentKind.GLOB
    kinds = [PathKind.BENEATH, PathKind.FILES if wild else PathKind.EXACT]
    return tuple(components), draw(st.sampled_from(kinds))


@st.composite
def programs(draw, *, permissive=False):
    """A program that the kernel takes."""
    words = st.integers(0, bpf.WORD)
    values = [bpf.RET_ALLOW, bpf.RET_LOG | 1, bpf.RET_TRACE | 7]
    values += [] if permissive else [bpf.RET_ERRNO | 1, bpf.RET_KILL_PROCESS, bpf.RET_TRAP]
    body = []
    for _ in range(draw(st.integers(0, 5))):
        code = draw(st.sampled_from([bpf.LOAD, bpf.AND, bpf.JEQ, bpf.JGE, bpf.JSET]))
        body.append(bpf.Instruction(code, draw(st.integers(0, 15)) * 4 if code == bpf.LOAD else draw(words)))
    returns = [bpf.Instruction(bpf.RET, draw(st.sampled_from(values))) for _ in range(draw(st.integers(1, 3)))]
    size = len(body) + len(returns)
    for index, one in enumerate(body):
        if one.code in (bpf.JEQ, bpf.JGE, bpf.JSET):
            far = st.integers(0, size - index - 2)
            body[index] = bpf.Instruction(one.code, one.k, draw(far), draw(far))
    return (*body, *returns)


NATIVE = [arch for arch in Arch if arch is not Arch.X32]


@st.composite
def filters(draw, arch):
    flags = draw(st.none() | st.sampled_from([0, 1, 2, 4, 32, 39]))
    return Filter(arch, flags, draw(programs()), draw(programs(permissive=True)))


def _subset(mask, *, least=0):
    """Masks of some of a mask's bits."""
    bits = [1 << bit for bit in range(64) if mask >> bit & 1]
    return st.lists(st.sampled_from(bits), unique=True, min_size=least).map(sum) if bits else st.just(0)


def abi(fs=0, net=0, scopes=0):
    return max(landlock.abi_of_fs(fs), landlock.abi_of_net(net), landlock.abi_of_scopes(scopes))


@st.composite
def rulesets(draw):
    fs, net = draw(st.sampled_from([0, landlock.ALL_FS, 7])), draw(st.sampled_from([0, landlock.ALL_NET, 3]))
    scopes = draw(_subset(landlock.ALL_SCOPES, least=0 if fs or net else 1))
    rules, ports = [], []
    for components, kind in draw(st.lists(paths(), max_size=5)) if fs else []:
        access = draw(_subset(fs, least=1))
        rules.append(PathRule(components, kind, access, draw(st.sampled_from(Missing)), abi(access)))
    for _ in range(draw(st.integers(0, 4)) if net else 0):
        first, last = sorted(draw(st.tuples(st.integers(0, 65535), st.integers(0, 65535))))
        access = draw(_subset(net, least=1))
        ports.append(PortRule(first, last, access, abi(net=access)))
    return Ruleset(fs, net, scopes, abi(fs, net, scopes), tuple(rules), tuple(ports))


IDS = st.none() | st.integers(0, 0xFFFFFFFE)
IDENTITIES = st.builds(Identity, uid=IDS, gid=IDS, capabilities=st.none() | st.integers(0, (1 << 41) - 1))
NUMBERS = st.integers(0, 600) | st.sampled_from([0xF0005, NOTHING - 1, CLASSES, CLASSES + len(STATE_WORDS) - 1])
STATES = NUMBERS | st.sampled_from([*BEGINNINGS.values()])
EDGES = st.lists(st.tuples(STATES, NUMBERS), max_size=6)
PAIRS = st.tuples(st.sampled_from([0, 1, START, SIGNAL, CLASSES]), st.sampled_from([0, 1, CLASSES + 1]))
DEEP = st.dictionaries(PAIRS, st.just([NOTHING]) | st.lists(NUMBERS, min_size=1, max_size=3), max_size=3).map(
    lambda found: tuple((*pair, after) for pair, codes in found.items() for after in codes)
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
METADATA = st.builds(
    Metadata,
    name=TEXTS,
    description=TEXTS,
    target_executable=TEXTS,
    generated_from=TEXTS,
    generated_at=TEXTS,
    policy_digest=st.sampled_from(["", "0123456789abcdef" * 4]),
    compiler=TEXTS,
)


@st.composite
def watches(draw, plain):
    """A watch of a file that has plain transitions of these ABIs; None where it could watch nothing."""
    machines = []
    for arch in draw(st.lists(st.sampled_from(list(Arch)), unique=True, max_size=2)):
        deep = draw(DEEP) if arch in plain else ()
        one = Machine(arch, deep=deep)
        if draw(st.booleans()):
            calls = st.lists(st.integers(0, 500), max_size=3).map(tuple)
            one = Machine(arch, draw(calls), tuple(draw(EDGES)), deep, draw(DEEP))
        machines.append(one)
    if not plain and all(one.serving_calls is None for one in machines):
        return None
    return Watch(draw(st.sampled_from(["count", "alert", "freeze", "kill"])), tuple(machines))


@st.composite
def policy_files(draw):
    """A compiled policy, in no order."""
    chosen = draw(st.lists(st.sampled_from(NATIVE), unique=True, max_size=2))
    ordered = draw(st.lists(st.sampled_from(list(Arch)), unique=True, max_size=2))
    return PolicyFile(
        filters=tuple(draw(filters(arch)) for arch in chosen),
        ruleset=draw(st.none() | rulesets()),
        identity=draw(IDENTITIES),
        transitions=tuple(Transitions(arch, tuple(draw(EDGES))) for arch in ordered),
        metadata=draw(METADATA),
        watch=draw(st.none() | watches(ordered)),
    )


def small():
    """A compiled policy that has all kinds of sections, as canonical has it."""
    allow, refuse = bpf.Instruction(bpf.RET, bpf.RET_ALLOW), bpf.Instruction(bpf.RET, bpf.RET_ERRNO | 1)
    log = bpf.Instruction(bpf.RET, bpf.RET_LOG | 1)
    test = (bpf.Instruction(bpf.LOAD, 0), bpf.Instruction(bpf.JEQ, 39, 1, 0))
    glob = (frozenset(b"a"), None, frozenset(b"bc"))
    srv = Component(ComponentKind.NAME, b"srv")
    rules = (
        PathRule((srv,), PathKind.EXACT, 4, Missing.SKIP, 1),
        PathRule((srv,), PathKind.EXACT, 0x4002, Missing.PARENTDIR, 3),
        PathRule((srv, Component(ComponentKind.GLOB, glob=glob)), PathKind.FILES, 12, Missing.SKIP, 1),
        PathRule((Component(ComponentKind.HOME),), PathKind.BENEATH, 0x1FFFF, Missing.PRECREATE, 9),
    )
    ports = (PortRule(0, 0, 1, 4), PortRule(80, 443, 11, 10))
    return PolicyFile(
        filters=(Filter(Arch.X86_64, 4, (*test, refuse, allow), (*test, log, allow)),),
        ruleset=Ruleset(0x1FFFF, 0xF, 1, 10, rules, ports),
        identity=Identity(uid=33, gid=None, capabilities=1 << 10),
        transitions=(Transitions(Arch.X32, ((0, 1), (START, 0))),),
        metadata=Metadata(name="web é", compiler="1"),
        watch=Watch(
            "kill",
            (
                Machine(Arch.X32, deep=((START, 0, CLASSES),)),
                Machine(Arch.X86_64, (50,), ((CLASSES + 3, 1), (FORK, 0)), (), ((0, 1, NOTHING), (0, 2, 3), (0, 2, 4))),
            ),
        ),
    )
