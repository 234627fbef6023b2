"""Alerts as the kernel's side writes them, and watches' entries in the ledger, for tests."""

from __future__ import annotations

from typing import Any

from scmm_oci.tables import states
from scmm_oci.watch import wire
from scmm_oci.watch.wire import Alert

HOSTILE = "\x1b]0;owned\x07\u202e\n\"';$(id)"
NUMBERS = states.numbers("x86_64")


def entry(**more: Any) -> dict[str, Any]:
    """What the ledger has of a watch."""
    return {
        "slot": 3,
        "epoch": 77,
        "live": True,
        "container": {"id": "4f" * 32, "name": "web", "engine": "podman"},
        "policy": {"name": "nginx", "digest": "d" * 64},
        "action": "alert",
        "started_at": "2023-11-14T22:13:20Z",
        **more,
    }


def alert(**fields: Any) -> Alert:
    """An alert, as it is read from the kernel's map."""
    return Alert(packed(**fields))


def packed(
    *,
    before: str | None = None,
    state: str | None = "read",
    to: str | int | None = "execve",
    kind: str = "edge",
    done: str = "none",
    seq: int = 1,
    at: int = 1_500_000_000,
    abi: int = 0,
    serving: bool = False,
    args: tuple[int, ...] = (0x1000, 0x2000, 0, 0, 0, 0),
    recent: tuple[str, ...] = ("openat:read", "read"),
    comm: bytes = b"nginx",
    path: bytes = b"nginx/sbin/usr/",
    whole: bool = True,
    numbers: dict[str, int] = NUMBERS,
    epoch: int = 77,
) -> bytes:
    """An alert in the form that it has in the kernel's map."""

    def number(word: str | int | None) -> int:
        if word is None:
            return wire.NONE
        return word if isinstance(word, int) else wire.ANY if word == "any" else numbers[word]

    calls = [number(each) for each in recent]
    kinds = {word: number for number, word in wire.KINDS.items()}
    return wire.ALERT.pack(
        *(seq, at, 900, 0x400000),
        *args,
        *(epoch, 3, 4711, 4712, 1, len(calls)),
        *(number(before), number(state), number(to), len(path)),
        *(kinds[kind], wire.DONE.index(done), int(serving), abi, int(whole), len(calls)),
        *[*calls, *[0] * (wire.RECENT - len(calls))],
        comm,
        path,
        seq,
    )
