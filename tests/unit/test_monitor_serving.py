"""The monitor's loop where something in it fails: the call is denied, and that is told, counted and written down."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from typing import Any, cast

import pytest
from decided import AT, WEB

from scmm_oci.enforcer.monitor.considering import Considering
from scmm_oci.enforcer.monitor.model import By, Verdict
from scmm_oci.enforcer.monitor.record import Decided
from scmm_oci.enforcer.monitor.rules.decide import Rules
from scmm_oci.enforcer.monitor.rules.load import parse
from scmm_oci.enforcer.monitor.served import Served
from scmm_oci.enforcer.monitor.serving import Options, Serving
from scmm_oci.enforcer.monitor.stuck import Unstuck
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import numbers

ASK = b'{"version": "1.0", "default": "ask"}'
CALL = Notification(77, 0, numbers(Arch.X86_64)["mkdir"], Arch.X86_64.audit, (0,) * 6)


class Broken:
    """Rules, or what considers, with a defect."""

    def needs(self, *_: object) -> Any:
        raise ZeroDivisionError("of a kind that nobody thought of")

    async def consider(self, *_: object) -> Any:
        raise ZeroDivisionError("of a kind that nobody thought of")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """What was answered: the call, its errno."""
    found: list[tuple[int, int]] = []

    def refuse(_: int, call: int, number: int) -> bool:
        found.append((call, number))
        return True

    monkeypatch.setattr(notify, "refuse", refuse)
    yield found


@pytest.mark.parametrize("where", ["rules", "considering"])
def test_a_call_that_a_defect_denies_is_a_decision_like_others(where: str, answers: list[tuple[int, int]]) -> None:
    told: list[str] = []
    noted: list[Decided] = []

    async def serve() -> Served:
        rules = Rules(parse(ASK)) if where == "considering" else cast(Rules, Broken())
        unstuck = Unstuck()
        served = Served(os.open(os.devnull, os.O_RDONLY), WEB, since=AT, unstuck=unstuck)
        one = Serving(
            options=Options(rules),
            considering=cast(Considering, Broken()),
            sinks=(noted.append,),
            tell=told.append,
            clock=lambda: AT,
            now=lambda: 7.0,
            unstuck=unstuck,
        )
        for _ in range(2):
            one._asked(served, CALL)
            await asyncio.gather(*served.tasks)
        assert one.waiting == 0 and one.gone == 0
        served.close()
        unstuck.close()
        return served

    served = asyncio.run(serve())
    assert answers == [(77, errno.EPERM)] * 2
    assert served.counts[Verdict.DENY] == 2 and len(noted) == 2
    assert (noted[0].decision.by, noted[0].result, noted[0].call.name) == (By.FAILURE, errno.EPERM, "mkdir")
    assert "ZeroDivisionError: of a kind" in noted[0].decision.detail
    assert told == ["web: a call is denied: ZeroDivisionError: of a kind that nobody thought of"]  # once
