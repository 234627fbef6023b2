"""Options and checks that several verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scmm_oci.errors import BadInput, Problem
from scmm_oci.tables.arch import Arch, from_machine

# What --arch takes, for help texts; uname's names for these are taken too.
ARCHES = ", ".join(Arch)


def arch_of(word: str | None) -> Arch | None:
    """What --arch says, if it is there. Raises BadInput if it is no architecture of ours."""
    return from_machine(word, place="--arch") if word is not None else None


def check_outputs(inputs: Sequence[str], outputs: Sequence[str | None]) -> list[str]:
    """The outputs that were asked for. Raises BadInput for an empty name, one given twice, or one of the inputs."""
    wanted = [path for path in outputs if path is not None]
    found = [Problem("", "an output has an empty name", "is a variable unset?") for path in wanted if not path]
    # An input is followed where it is a link: it is what that points to that must not be overwritten.
    read = {place for path in inputs for place in (_place(path), str(Path(path).resolve()))}
    seen: set[str] = set()
    for path in filter(None, wanted):
        place = _place(path)
        if place in read:
            found.append(Problem(path, "is an input too and would be overwritten"))
        if path == "-":
            found.append(Problem(path, "stands for no output: only files are written", "name a file"))
        if place in seen:
            found.append(Problem(path, "is the name of two outputs"))
        seen.add(place)
    if found:
        raise BadInput(found)
    return wanted


def _place(path: str) -> str:
    # The last component is replaced, not followed; the directories above it are.
    return str(Path(path).parent.resolve() / Path(path).name)
