"""What must hold for the parts of a compiled policy, whether they are to be written or were read.

Every function takes the place of its part and gives problems with places below it, so that a writer's are those of
the values and a reader's those of the bytes. Called by `writer` and `reader`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache

from scmm_oci.compiled import bpf
from scmm_oci.compiled.polfile.codes import is_called, is_state
from scmm_oci.compiled.polfile.layout import MAX_EDGES
from scmm_oci.compiled.polfile.model import Identity, Metadata, PortRule, Ruleset
from scmm_oci.errors import Problem, short
from scmm_oci.tables import landlock

# Flags of seccomp(2) that a policy decides about: TSYNC, LOG, SPEC_ALLOW, WAIT_KILLABLE_RECV (linux/seccomp.h). The
# others ask for a listener and are the launcher's.
FLAGS = 1 | 2 | 4 | 32

# (uid_t) -1 stands for no id: setresuid(2).
_MAX_ID = 0xFFFFFFFE
_MAX_PORT = 65535
# CAP_LAST_CAP of linux/capability.h is 40.
_CAPABILITIES = (1 << 41) - 1
_RET_A = 0x16
# LD|MEM, LDX|MEM, ST, STX: our compiler makes none, and the launcher does not follow what is in the words.
_MEMORY = (0x60, 0x61, 0x02, 0x03)
_PASSING = (bpf.RET_ALLOW, bpf.RET_LOG, bpf.RET_TRACE, bpf.RET_USER_NOTIF)
# What is told of a state that is none.
STATES_HINT = "calls and known classes of calls follow such, or beginnings: docs/formats.md has their numbers"
_DIGEST = re.compile(r"(?:[0-9a-f]{64})?\Z")


def flags_problems(flags: int | None, place: str) -> list[Problem]:
    """Problems of the flags of a filter; None leaves them to the launcher."""
    if flags is None or (flags >= 0 and not flags & ~FLAGS):
        return []
    return [Problem(f"{place}.flags", f"is {flags:#x}", f"the flags that a policy may give are in {FLAGS:#x}")]


def program_problems(program: bpf.Program, place: str, *, permissive: bool = False) -> list[Problem]:
    """Problems of a filter's program; of a permissive one also where it refuses a call."""
    place = f"{place}.program"
    found = bpf.problems(program, place=place)
    for index, one in enumerate(program):
        if not (0 <= one.k <= bpf.WORD and 0 <= one.jt < 256 and 0 <= one.jf < 256):
            found.append(Problem(f"{place}[{index}]", "has a number that struct sock_filter cannot hold"))
        elif one.code in _MEMORY:
            found.append(Problem(f"{place}[{index}]", "uses a memory word, which no filter of a compiled policy does"))
        elif permissive and one.code == _RET_A:
            found.append(Problem(f"{place}[{index}]", "returns what is not known, and must let calls pass"))
        elif permissive and one.code == bpf.RET and one.k & bpf.RET_ACTION_FULL not in _PASSING:
            found.append(Problem(f"{place}[{index}]", f"returns {one.k:#010x}, and must let calls pass"))
    return found


def ruleset_problems(ruleset: Ruleset, place: str) -> list[Problem]:
    """Problems of what a ruleset handles, not of its rules."""
    known = (
        ("handled_fs", ruleset.handled_fs, landlock.ALL_FS),
        ("handled_net", ruleset.handled_net, landlock.ALL_NET),
        ("scoped", ruleset.scoped, landlock.ALL_SCOPES),
    )
    found = [problem for name, mask, every in known for problem in _mask(mask, every, f"{place}.{name}")]
    if not found and not ruleset.has_addresses and not any(mask for _, mask, _ in known):
        found.append(Problem(place, "handles nothing, which the kernel refuses (ENOMSG)"))
    if not found:
        least = max(
            landlock.abi_of_fs(ruleset.handled_fs),
            landlock.abi_of_net(ruleset.handled_net),
            landlock.abi_of_scopes(ruleset.scoped),
        )
        found += _abi(ruleset.abi, least, place)
    return found


def plain_problems(plain_from: int, count: int, place: str) -> list[Problem]:
    """Problems of the component from which on a rule's path has no links, if it has `count` of them."""
    if 0 <= plain_from <= count:
        return []
    return [Problem(f"{place}.plain_from", f"is {plain_from}, and the path has {count} components")]


# A policy has few different ones, and many rules.
@lru_cache(maxsize=1 << 12)
def is_path_access(access: int, abi: int, handled: int) -> bool:
    """Whether `path_access_problems` finds nothing."""
    return not path_access_problems(access, abi, handled, "")


def path_access_problems(access: int, abi: int, handled: int, place: str) -> list[Problem]:
    """Problems of the rights of a rule for a path."""
    return _access(access, abi, handled & landlock.ALL_FS, landlock.abi_of_fs, place)


def port_problems(rule: PortRule, handled: int, place: str) -> list[Problem]:
    """Problems of a rule for ports."""
    found = []
    if not 0 <= rule.first <= rule.last <= _MAX_PORT:
        found.append(Problem(place, f"is for ports {rule.first} to {rule.last}", f"ports are 0 to {_MAX_PORT}"))
    return found + _access(rule.access, rule.abi, handled & landlock.ALL_NET, landlock.abi_of_net, place)


def identity_problems(identity: Identity, place: str) -> list[Problem]:
    """Problems of who the program is to be."""
    found = [
        Problem(f"{place}.{name}", f"is {value}", f"ids are 0 to {_MAX_ID}")
        for name, value in (("uid", identity.uid), ("gid", identity.gid))
        if value is not None and not 0 <= value <= _MAX_ID
    ]
    return found + _mask(identity.capabilities or 0, _CAPABILITIES, f"{place}.capabilities")


def edges_problems(edges: tuple[tuple[int, int], ...], place: str, *, name: str = "edges") -> list[Problem]:
    """Problems of transitions, but for their order."""
    if len(edges) > MAX_EDGES:
        return [Problem(place, f"has {len(edges)} pairs; {MAX_EDGES} are the most")]
    bad_from = {code for code, _ in edges if not is_state(code)}
    bad_to = {code for _, code in edges if not is_called(code)}
    if not bad_from and not bad_to:
        return []
    return [
        Problem(f"{place}.{name}[{index}]", f"is from {before} to {after}", STATES_HINT)
        for index, (before, after) in enumerate(edges)
        if before in bad_from or after in bad_to
    ]


def metadata_problems(metadata: Metadata, place: str) -> list[Problem]:
    """Problems of the texts for people."""
    found = []
    for one in fields(metadata):
        text = getattr(metadata, one.name)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            found.append(Problem(f"{place}.{one.name}", "has half of a surrogate pair, which UTF-8 cannot hold"))
    if not _DIGEST.match(metadata.policy_digest):
        message = f"is {short(metadata.policy_digest)}, and no SHA-256 of 64 hexadecimal digits"
        found.append(Problem(f"{place}.policy_digest", message))
    return found


def _access(access: int, abi: int, handled: int, abi_of: Callable[[int], int], place: str) -> list[Problem]:
    found = _mask(access, handled, f"{place}.access", what="handled")
    if not access:
        found.append(Problem(f"{place}.access", "is 0: a rule without a right"))
    return found or _abi(abi, abi_of(access), place)


def _mask(mask: int, every: int, place: str, *, what: str = "known") -> list[Problem]:
    if mask >= 0 and not mask & ~every:
        return []
    return [Problem(place, f"is {mask:#x}, and what is {what} is {every:#x}")]


def _abi(abi: int, least: int, place: str) -> list[Problem]:
    return [] if abi == least else [Problem(f"{place}.abi", f"is {abi}, and the least that has all of it is {least}")]
