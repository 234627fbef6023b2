"""Which arguments of system calls are enumerations or words of flags, from data/arguments.json.

A recorder keeps the set of values seen of these. Sizes, addresses, identifiers, descriptors and user data are not here.
What the values are called is in scmm_oci.tables.words, whose functions can be had from here too. A root hook imports
this once per boot to fill the recorder's table, so it loads little.
"""

from __future__ import annotations

import os

from scmm_oci import quickjson
from scmm_oci.tables.words import check_arch, describe, names, options, value_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ARGUMENTS", "MOST", "Argument", "arguments", "describe", "names", "options", "value_of"]

# No call has more arguments worth keeping; the recorder has room for as many.
MOST = 4

_FULL = {False: 0xFFFF_FFFF, True: 0xFFFF_FFFF_FFFF_FFFF}


class Argument:
    """An argument whose values are kept.

    Attributes:
        indexes: its place, 0 to 5; or two places, and then the value is ``first << 32 | second``, both of 32 bits.
        wide: whether the kernel takes 64 bits (unsigned long) where a register has them; of an int it sees the low 32.
        kind: ``enum`` or ``flags``.
        vocabulary: where the names of its values are, for scmm_oci.tables.words.
        field: None, or the value is this member of the structure that the argument points to.
        mask: the bits that count. File modes, for one, are left out.
    """

    __slots__ = ("field", "indexes", "kind", "mask", "vocabulary", "wide")

    def __init__(
        self, indexes: tuple[int, ...], *, wide: bool, kind: str, vocabulary: str, field: str | None, mask: int
    ) -> None:
        self.indexes = indexes
        self.wide = wide
        self.kind = kind
        self.vocabulary = vocabulary
        self.field = field
        self.mask = mask

    def __repr__(self) -> str:
        rest = " ".join(f"{name}={getattr(self, name)!r}" for name in ("wide", "kind", "vocabulary", "field"))
        return f"<Argument {self.indexes} {rest} mask={self.mask:#x}>"


def _argument(text: str) -> Argument:
    # "INDEX[,INDEX] [wide] enum|flags VOCABULARY [field=NAME] [mask=NUMBER]"
    words = text.split()
    indexes = tuple(int(index) for index in words.pop(0).split(","))
    wide = words[0] == "wide"
    if wide:
        del words[0]
    kind, vocabulary = words[:2]
    rest = dict(word.split("=") for word in words[2:])
    full = _FULL[wide or len(indexes) == 2]
    mask = int(rest["mask"], 16) if "mask" in rest else full
    return Argument(indexes, wide=wide, kind=kind, vocabulary=vocabulary, field=rest.get("field"), mask=mask)


def _load() -> tuple[dict[str, tuple[Argument, ...]], dict[str, dict[str, tuple[Argument, ...]]]]:
    path = os.path.join(os.path.dirname(__file__), "data", "arguments.json")
    with open(path, "rb") as file:
        document = quickjson.loads(file.read())
    calls = {name: tuple(map(_argument, texts)) for name, texts in document["calls"].items()}
    other = {
        arch: {name: tuple(map(_argument, texts)) for name, texts in table.items()}
        for arch, table in document["other"].items()
    }
    return calls, other


# System call name → its arguments that are kept, in order, as most ABIs have them; calls without any are not here.
ARGUMENTS: Mapping[str, tuple[Argument, ...]]
ARGUMENTS, _OTHER = _load()


def arguments(arch: str) -> Mapping[str, tuple[Argument, ...]]:
    """ARGUMENTS as an architecture has them; calls that it does not have are here too.

    On 32-bit ABIs a 64-bit number before an argument moves it; s390 swaps clone's first two; and some ABIs' mmap has
    its arguments in memory, so that nothing can be kept.

    Raises:
        BadInput: the architecture is not known.
    """
    check_arch(arch)
    table = {**ARGUMENTS, **_OTHER.get(arch, {})}
    return {name: kept for name, kept in table.items() if kept}
