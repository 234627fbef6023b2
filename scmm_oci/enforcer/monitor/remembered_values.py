"""A remembered answer as values, and as a row of the file. Called by monitor.remembered and remembered_rules."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from scmm_oci.enforcer.monitor.model import By, Call, Decision, Subject, Verdict
from scmm_oci.tables import errnos
from scmm_oci.tables.arch import Arch

COLUMNS = "name, executable, call, detail, verdict, errno, value, at, about"


class Key(NamedTuple):
    """What an answer is for.

    Attributes:
        name: the target's. executable: "" where it is not known.
        detail: what of the call counts: its numbers, paths and address, in words; only ever compared.
    """

    name: str
    executable: str
    call: str
    detail: str

    @property
    def id(self) -> str:
        """A short name for it, of 12 hexadecimal digits."""
        return sha256(b"\0".join(self.row)).hexdigest()[:12]

    @property
    def row(self) -> tuple[bytes, ...]:
        """Its texts as bytes; lone surrogates, which stand for bytes that are not UTF-8, are there too."""
        return tuple(each.encode("utf-8", "surrogatepass") for each in self)


@dataclass(frozen=True, slots=True)
class About:
    """The call that was asked about, for a rule that says the same.

    Attributes:
        paths: None where what was decided was not about files that were held.
        address: family, text and port; None likewise.
    """

    arch: Arch | None
    nr: int
    name: str | None
    args: tuple[int, ...]
    paths: tuple[str, ...] | None = None
    address: tuple[str, str | None, int | None] | None = None

    @staticmethod
    def of(subject: Subject) -> About:
        """What of a subject is kept."""
        call: Call = subject.call
        peer = subject.address
        address = None if peer is None else (peer.family, peer.text, peer.port)
        return About(call.arch, call.nr, call.name, call.args, subject.paths, address)


@dataclass(frozen=True, slots=True)
class Entry:
    """A remembered answer. at: when it was given, in seconds since 1970. about: None if that was not kept."""

    key: Key
    decision: Decision
    at: int
    about: About | None = None


def decision_of(verdict: Verdict, errno: int, value: int) -> Decision:
    """An answer, as it is found again."""
    return Decision(verdict, By.REMEMBERED, errno, value)


def to_row(entry: Entry) -> tuple[Any, ...]:
    """The values of COLUMNS."""
    decision = entry.decision
    about = "" if entry.about is None else _to_json(entry.about)
    return (*entry.key.row, decision.verdict.value, decision.errno, decision.value, entry.at, about)


def from_row(row: tuple[Any, ...]) -> Entry:
    """What `to_row` has written.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is not that.
    """
    *key, verdict, errno, value, at, about = row
    if not all(type(each) is int for each in (errno, value, at)) or not 0 < errno <= errnos.MAX:
        raise ValueError("no numbers of a decision")
    texts = [each.decode("utf-8", "surrogatepass") for each in key]
    return Entry(Key(*texts), decision_of(Verdict(verdict), errno, value), at, _from_json(about) if about else None)


def _to_json(about: About) -> str:
    """ASCII: lone surrogates, which stand for bytes of paths, are escaped."""
    return json.dumps(
        {
            "arch": about.arch,
            "nr": about.nr,
            "name": about.name,
            "args": about.args,
            "paths": about.paths,
            "address": about.address,
        },
        sort_keys=True,
    )


def _from_json(text: str) -> About:
    value = json.loads(text)
    paths, address = value["paths"], value["address"]
    return About(
        None if value["arch"] is None else Arch(value["arch"]),
        int(value["nr"]),
        value["name"],
        tuple(int(one) for one in value["args"]),
        None if paths is None else tuple(str(one) for one in paths),
        None if address is None else (str(address[0]), address[1], address[2]),
    )
