"""Everything that is wrong with a seccomp profile in Docker's and podman's form (scmm_oci.oci.rich reads it).

The schema says what shape it has; here stands what its words mean, and which pairs contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scmm_oci.errors import Problem, short, unknown_value
from scmm_oci.oci.contradictions import ANSWERING, contradictions
from scmm_oci.oci.seccomp import MAX_BYTES
from scmm_oci.schema import Steps, place, problems, prune
from scmm_oci.tables import errnos
from scmm_oci.tables.vocabulary import CAPABILITIES, capability

# What engines call a machine in includes and excludes: libseccomp's names (seccomp_arch_resolve_name(3)), which are
# mostly Go's. Docker has "mipsle" and "mips3l64n32" for two of them, loong64 in one table and loongarch64 in another.
ARCHES = (
    "amd64", "arm", "arm64", "loong64", "loongarch64", "m68k", "mips", "mips3l64n32", "mips64", "mips64n32", "mipsel",
    "mipsel64", "mipsel64n32", "mipsle", "parisc", "parisc64", "ppc", "ppc64", "ppc64le", "riscv64", "s390", "s390x",
    "sh", "sheb", "x32", "x86",
)  # fmt: skip

# uname(2)'s words and Go's, which people write instead.
_MEANT = {"x86_64": "amd64", "aarch64": "arm64", "i386": "x86", "i686": "x86", "386": "x86", "armv7l": "arm"}

# Docker reads each part of a minKernel into eight bits (moby, profiles/seccomp/seccomp.go).
_MOST_OF_A_VERSION = 255


def check(document: Any, size: int) -> list[Problem]:
    """All problems of a profile in ``size`` bytes of JSON."""
    bad = problems(document, "rich-seccomp")
    found = [one.problem for one in bad]
    if size > MAX_BYTES:
        found.append(Problem(".", f"is {size} bytes of JSON; {MAX_BYTES} is the most that is read"))
    rest = prune(document, bad)
    found += contradictions(rest)
    found += _errno(rest, "defaultAction", "defaultErrnoRet", "defaultErrno", ())
    found += _architectures(rest)
    for index, rule in enumerate(rest.get("syscalls") or ()):
        if rule:
            path = ("syscalls", index)
            found += _names(document["syscalls"][index], path)
            found += _errno(rule, "action", "errnoRet", "errno", path)
            found += _filters(rule, path)
    return found


def kernel_version(text: str) -> tuple[int, int]:
    """Version and major revision of a ``minKernel`` such as "4.8", which the schema has found right."""
    version, _, revision = text.partition(".")
    return int(version), int(revision)


def _names(rule: dict[str, Any], path: Steps) -> Iterator[Problem]:
    # The rule as it stands in the file: a bad name is one that is there.
    if rule.get("name") and rule.get("names"):
        yield Problem(place((*path, "name")), "stands beside names; engines refuse both", "move it into names")
    elif not rule.get("name") and not rule.get("names"):
        yield Problem(place((*path, "names")), "is empty or missing: the rule is for no system call")


def _errno(holder: dict[str, Any], action: str, number: str, name: str, path: Steps) -> Iterator[Problem]:
    word, value, what = holder.get(name), holder.get(number), holder.get(action)
    if not word:
        return
    where = place((*path, name))
    # Recorders' way to write a number without a name (E524) is none of podman's.
    known = errnos.number(word) if not word[1:].isdecimal() or word.isdecimal() else None
    if known is None:
        yield errnos.unknown(where, word)
    elif value is not None and value != known:
        known_as = f"{word} is {known}" if not word.isdecimal() else f"is {word}"
        yield Problem(where, f"{known_as}, but {number} is {value}")
    if what not in (*ANSWERING, None):
        yield Problem(where, f"goes with SCMP_ACT_ERRNO and SCMP_ACT_TRACE only, not {what}")


def _architectures(document: dict[str, Any]) -> Iterator[Problem]:
    mappings = document.get("archMap") or ()
    if document.get("architectures") and mappings:
        yield Problem(".architectures", "stands beside archMap; engines refuse both", "keep one of them")
    seen = set()
    for index, mapping in enumerate(mappings):
        machine = mapping.get("architecture") if mapping else None
        if machine is None:
            continue
        if machine in seen:
            message = f"{machine} stands twice in archMap; engines take the first"
            yield Problem(place(("archMap", index, "architecture")), message)
        seen.add(machine)
        if machine in (mapping.get("subArchitectures") or ()):
            yield Problem(place(("archMap", index, "subArchitectures")), f"has {machine}, which is the architecture")


def _filters(rule: dict[str, Any], path: Steps) -> Iterator[Problem]:
    filters = {key: rule.get(key) or {} for key in ("includes", "excludes")}
    for key, one in filters.items():
        for index, word in enumerate(one.get("caps") or ()):
            if word is not None and (word != capability(word)):
                known = [f"CAP_{name}" for name in CAPABILITIES]
                yield unknown_value(place((*path, key, "caps", index)), "a capability", word, known)
        for index, word in enumerate(one.get("arches") or ()):
            if word is not None and word not in ARCHES:
                yield _unknown_machine(place((*path, key, "arches", index)), word)
        kernel = one.get("minKernel")
        if kernel and not _is_kernel(kernel):
            message = (
                f"{short(kernel)} is not a kernel's version: its parts are at most {_MOST_OF_A_VERSION}, not both 0"
            )
            yield Problem(place((*path, key, "minKernel")), message)
    yield from _never(filters["includes"], filters["excludes"], path)


def _never(includes: dict[str, Any], excludes: dict[str, Any], path: Steps) -> Iterator[Problem]:
    message = "includes asks for it too, so the rule is never taken"
    for key in ("caps", "arches"):
        asked = includes.get(key) or ()
        # One of several machines is enough to be included, so only all of them together contradict.
        if key == "arches" and not set(asked) <= set(excludes.get(key) or ()):
            continue
        for index, word in enumerate(excludes.get(key) or ()):
            if word is not None and word in asked:
                yield Problem(place((*path, "excludes", key, index)), f"excludes {word}, but {message}")
    least, limit = includes.get("minKernel"), excludes.get("minKernel")
    if least and limit and kernel_version(least) >= kernel_version(limit):
        yield Problem(place((*path, "excludes", "minKernel")), f"excludes {limit}, but includes begins with {least}")


def _unknown_machine(where: str, word: str) -> Problem:
    if word in _MEANT:
        return Problem(where, f"{short(word)} is not an engine's word for a machine", f"did you mean {_MEANT[word]!r}?")
    return unknown_value(where, "an engine's word for a machine", word, ARCHES, listed=len(ARCHES))


def _is_kernel(text: str) -> bool:
    version = kernel_version(text)
    return max(version) <= _MOST_OF_A_VERSION and version != (0, 0)
