"""The monitor's counters, and their text for Prometheus.

Counting is adding to plain numbers; the library is only asked for text when somebody reads. No label is a word that
a target chooses: system calls are those of our tables, and neither containers nor programs nor paths are labels.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from scmm_oci.enforcer.monitor.model import By, Verdict
from scmm_oci.enforcer.monitor.record import Decided

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

# Seconds that a call waited: from a rule's answer to a person's.
BOUNDS = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 60.0)

# What is asked for only when somebody reads: name → help.
LEVELS: Mapping[str, str] = {
    "targets": "Listeners that are served now.",
    "waiting": "Calls that wait for an answer now.",
    "questions": "Questions to a person that are open now.",
    "learnt_calls": "System calls that the delta of --learn allows.",
}
TOTALS: Mapping[str, str] = {
    "listeners": "Listeners that were handed over.",
    "refused_connections": "Connections that handed no listener over, or were refused.",
    "gone": "Calls whose thread was gone before they were answered.",
    "log_lost": "Decisions that the log could not be given, since its disk was full or slow.",
}
_PREFIX = "scmm_monitor"
_OTHER = "other"


class Metrics:
    """Counts of what was decided since the monitor began.

    decisions: (system call, or "other" for one without a name; verdict; by whom) → how often.
    """

    def __init__(self, *, levels: Callable[[], Mapping[str, float]]) -> None:
        """levels: gives values by the names of LEVELS and TOTALS; those that it does not give are 0."""
        self.decisions: dict[tuple[str, Verdict, By], int] = {}
        self.on_behalf = 0
        self._levels = levels
        self._waits: dict[By, list[int]] = {by: [0] * (len(BOUNDS) + 1) for by in By}
        self._waited: dict[By, float] = dict.fromkeys(By, 0.0)

    def count(self, decided: Decided) -> None:
        """Add one decision."""
        decision = decided.decision
        by = decision.by
        key = (decided.call.name or _OTHER, decision.verdict, by)
        try:
            self.decisions[key] += 1
        except KeyError:
            self.decisions[key] = 1
        waited = decided.waited_s
        self._waits[by][bisect_left(BOUNDS, waited)] += 1
        self._waited[by] += waited
        if decided.on_behalf:
            self.on_behalf += 1

    def totals(self) -> dict[str, dict[str, int]]:
        """How often each verdict was given, and by whom: what the status says."""
        verdicts: dict[str, int] = {verdict.value: 0 for verdict in Verdict}
        deciders: dict[str, int] = {}
        for (_, verdict, by), count in self.decisions.items():
            verdicts[verdict.value] += count
            deciders[by.value] = deciders.get(by.value, 0) + count
        return {"verdicts": verdicts, "by": dict(sorted(deciders.items()))}

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All of it in a format that a reader's Accept header asks for, and that format's content type."""
        return exposition(self._collect, accept)

    def _collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        decided = CounterMetricFamily(
            f"{_PREFIX}_decisions", "Calls that were answered.", labels=["syscall", "verdict", "by"]
        )
        for (name, verdict, by), count in sorted(self.decisions.items()):
            decided.add_metric([name, verdict.value, by.value], count)
        yield decided
        waited = HistogramMetricFamily(
            f"{_PREFIX}_wait_seconds", "From the notification of a call to its answer.", labels=["by"]
        )
        for by, counts in self._waits.items():
            if any(counts):
                waited.add_metric([by.value], list(_cumulated(counts)), self._waited[by])
        yield waited
        behalf = CounterMetricFamily(f"{_PREFIX}_on_behalf", "Calls that the monitor made itself.")
        behalf.add_metric([], self.on_behalf)
        yield behalf
        values = self._levels()
        for name, text in TOTALS.items():
            total = CounterMetricFamily(f"{_PREFIX}_{name}", text)
            total.add_metric([], values.get(name, 0))
            yield total
        for name, text in LEVELS.items():
            level = GaugeMetricFamily(f"{_PREFIX}_{name}", text)
            level.add_metric([], values.get(name, 0))
            yield level


def exposition(collect: Callable[[], Iterator[Metric]], accept: str) -> tuple[bytes, str]:
    """Values in a format that a reader's Accept header asks for, and that format's content type."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(collect))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector:
    """What the library asks for values: anything with a method of that name."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect


def _cumulated(counts: list[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        total += count
        yield bound, total
