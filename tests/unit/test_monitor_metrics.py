"""The monitor's counts, and their text at an address of this host."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from decided import ALLOWED, DENIED, LEARNT, decided
from prometheus_client.parser import text_string_to_metric_families

from scmm_oci.enforcer.monitor import exchanges
from scmm_oci.enforcer.monitor.metrics import BOUNDS, LEVELS, TOTALS, Metrics
from scmm_oci.enforcer.monitor.model import By, Decision, Target, Verdict
from scmm_oci.enforcer.monitor.scraping import Scraping, parse
from scmm_oci.errors import BadInput, Failure
from scmm_oci.tables import syscalls


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(sample's name, its labels) → value, as Prometheus reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_decisions_are_counted_by_call_verdict_and_decider() -> None:
    metrics = Metrics(levels=dict)
    for one, count in ((decided("openat"), 3), (decided("openat", decision=DENIED), 2), (decided(9999), 1)):
        for _ in range(count):
            metrics.count(one)
    found = values(metrics.text()[0].decode())
    name = "scmm_monitor_decisions_total"
    assert {labels: value for (each, labels), value in found.items() if each == name} == {
        (("by", "learning"), ("syscall", "openat"), ("verdict", "allow")): 3,
        (("by", "rule"), ("syscall", "openat"), ("verdict", "deny")): 2,
        (("by", "learning"), ("syscall", "other"), ("verdict", "allow")): 1,
    }
    assert metrics.totals() == {
        "verdicts": {"allow": 4, "deny": 2, "kill": 0, "return": 0},
        "by": {"learning": 4, "rule": 2},
    }


def test_waiting_is_a_histogram_by_decider() -> None:
    metrics = Metrics(levels=dict)
    for waited in (0.000005, 0.0001, 0.5, 1000.0):
        metrics.count(decided("read", decision=ALLOWED, waited_s=waited, on_behalf=waited > 1))
    found = values(metrics.text()[0].decode())
    name, by = "scmm_monitor_wait_seconds", ("by", "rule")
    buckets = {dict(labels)["le"]: value for (each, labels), value in found.items() if each == f"{name}_bucket"}
    assert {float(bound): value for bound, value in buckets.items()} == {
        bound: sum(waited <= bound for waited in (0.000005, 0.0001, 0.5, 1000.0)) for bound in (*BOUNDS, float("inf"))
    }
    assert found[f"{name}_count", (by,)] == 4 and found[f"{name}_sum", (by,)] == pytest.approx(1000.500105)
    assert found["scmm_monitor_on_behalf_total", ()] == 1


def test_levels_are_those_of_the_moment() -> None:
    levels = {"targets": 2.0, "log_lost": 7.0}
    metrics = Metrics(levels=lambda: levels)
    first = values(metrics.text()[0].decode())
    assert first["scmm_monitor_targets", ()] == 2 and first["scmm_monitor_log_lost_total", ()] == 7
    levels["targets"] = 1
    assert values(metrics.text()[0].decode())["scmm_monitor_targets", ()] == 1
    have = {name for name, _ in first}
    assert {f"scmm_monitor_{name}" for name in LEVELS} | {f"scmm_monitor_{name}_total" for name in TOTALS} <= have


def test_targets_choose_no_label() -> None:
    metrics = Metrics(levels=dict)
    for number in range(2000):
        detail = Decision(Verdict.DENY, By.PERSON, number % 4000 + 1, detail=str(number))
        target = Target(str(number), "x" * number, 1, "")
        metrics.count(decided(10_000 + number, target=target, decision=detail, paths=(f"/{number}",)))
        metrics.count(decided("openat", number, target=target, paths=(f"/{number}",)))
    assert len(metrics.decisions) == 2 and len(metrics.text()[0]) < 8000
    names = {key[0] for key in metrics.decisions}
    assert names <= {"other", *syscalls.all_names()}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9090", ("127.0.0.1", 9090)),
        ("127.3.2.1:0", ("127.3.2.1", 0)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("unix:/run/x.sock", "/run/x.sock"),
    ],
)
def test_places_of_this_host_are_known(text: str, place: tuple[str, int] | str) -> None:
    assert parse(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9090",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:९",
        "::1:9",
        "[127.0.0.1]:9",
        "0.0.0.0:9090",
        "10.0.0.1:9090",
        "[::]:9090",
        "example.org:80",
        "unix:run/x.sock",
        ":9090",
    ],
)
def test_other_places_are_refused(text: str) -> None:
    with pytest.raises(BadInput) as error:
        parse(text)
    assert "--metrics" in str(error.value)


def served(metrics: Metrics, ask: Callable[[tuple[str, int] | str], Awaitable[None]], place: str) -> None:
    async def run() -> None:
        scraping = Scraping(metrics)
        try:
            await ask(await scraping.start(parse(place)))
        finally:
            await scraping.close()

    asyncio.run(run())


async def get(where: tuple[str, int] | str, request: str) -> tuple[str, dict[str, str], str]:
    """Status line, headers and body of an answer."""
    if isinstance(where, str):
        reader, writer = await asyncio.open_unix_connection(where)
    else:
        reader, writer = await asyncio.open_connection(*where)
    writer.write(request.encode())
    answer = (await asyncio.wait_for(reader.read(), 30)).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    first, *rest = head.split("\r\n")
    return first, dict(line.split(": ", 1) for line in rest if line), body


@pytest.mark.parametrize("kind", ["127.0.0.1:0", "unix"])
def test_prometheus_can_read_it(tmp_path: Path, kind: str) -> None:
    metrics = Metrics(levels=dict)
    metrics.count(decided("openat", decision=LEARNT))
    path = tmp_path / "run" / "metrics.sock"

    async def ask(where: tuple[str, int] | str) -> None:
        status, headers, body = await get(where, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status == "HTTP/1.1 200 OK" and headers["Content-Type"].startswith("text/plain; version=")
        assert int(headers["Content-Length"]) == len(body.encode())
        key = ("scmm_monitor_decisions_total", (("by", "learning"), ("syscall", "openat"), ("verdict", "allow")))
        assert values(body)[key] == 1
        accept = "Accept: application/openmetrics-text;version=1.0.0"
        _, headers, body = await get(where, f"GET /metrics?x=1 HTTP/1.1\r\n{accept}\r\n\r\n")
        assert headers["Content-Type"].startswith("application/openmetrics-text") and body.endswith("# EOF\n")
        status, headers, body = await get(where, "HEAD /metrics HTTP/1.1\r\n\r\n")
        assert "200" in status and int(headers["Content-Length"]) > 0 and body == ""
        assert "404" in (await get(where, "GET /etc/passwd HTTP/1.1\r\n\r\n"))[0]
        assert "405" in (await get(where, "POST /metrics HTTP/1.1\r\n\r\n"))[0]
        if isinstance(where, str):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    served(metrics, ask, f"unix:{path}" if kind == "unix" else kind)
    assert not path.exists()


def test_what_is_not_whole_or_too_long_has_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(where: tuple[str, int] | str) -> None:
        monkeypatch.setattr(exchanges, "DEADLINE_S", 0.1)
        for request in ("GET /metrics HTTP/1.1\r\n", "", f"GET /{'x' * 20_000} HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection(*where)
            writer.write(request.encode())
            try:
                assert await asyncio.wait_for(reader.read(), 30) == b""
            except ConnectionResetError:
                pass  # what it had not read yet is thrown away
            writer.close()
        monkeypatch.undo()
        assert "200" in (await get(where, "GET /metrics HTTP/1.1\r\n\r\n"))[0]

    served(Metrics(levels=dict), ask, "127.0.0.1:0")


def test_more_connections_than_there_may_be_are_closed() -> None:
    async def ask(where: tuple[str, int] | str) -> None:
        open_ = [await asyncio.open_connection(*where) for _ in range(exchanges.MOST)]
        for _, writer in open_:
            writer.write(b"G")
        reader, over = await asyncio.open_connection(*where)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        over.close()
        for reader, writer in open_:
            writer.write(b"ET /metrics HTTP/1.1\r\n\r\n")
            assert b"200 OK" in await asyncio.wait_for(reader.read(), 30)
            writer.close()

    served(Metrics(levels=dict), ask, "127.0.0.1:0")


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        async def ask(_: object) -> None:
            raise AssertionError("listens where another does")

        with pytest.raises(Failure, match="cannot be given"):
            served(Metrics(levels=dict), ask, f"127.0.0.1:{port}")
