"""Compiled policies, and their parts, as hypothesis makes them."""

from hypothesis import strategies as st

from scmm_oci.compiled.polfile.model import Component, ComponentKind, PathKind
from scmm_oci.compiled.polfile.paths import ANY_BYTE

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
