"""What is counted of the watches that are followed, as metrics in Prometheus' formats. Called by scraping.

Labels are of the container, its engine and the policy; nothing that a program chooses while it runs is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from scmm_oci.enforcer.monitor.metrics import exposition

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from scmm_oci.watch.follow import Watched

_PREFIX = "scmm_watch"
_LABELS = ("container", "id", "engine", "policy")
_MOST = 128  # characters of a label

# Counters of a watch (scmm_oci.watch.slots): name → help.
TOTALS: Mapping[str, str] = {
    "violations": "Calls that the policy's transitions do not have.",
    "alerts": "Violations that were told to followers.",
    "unreported": "Violations that were counted only, as there were too many in a second.",
    "kills": "Processes that were killed for one.",
    "left": "Threads that left the watched cgroup.",
    "lost_threads": "Threads that could not be watched.",
    "lost_cgroups": "Cgroups below the watched one that could not be watched.",
}


class Metrics:
    """The values of the watches that `watched` gives."""

    def __init__(self, watched: Callable[[], Sequence[Watched]]) -> None:
        self._watched = watched

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All of them in a format that a reader's Accept header asks for, and that format's content type."""
        return exposition(self._collect, accept)

    def _collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        watched = self._watched()
        for name, text in TOTALS.items():
            labels = (*_LABELS, "action") if name == "violations" else _LABELS
            total = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
            for one in watched:
                action = [str(one.entry["action"])] if name == "violations" else []
                total.add_metric([*_values(one), *action], one.value.counters.get(name, 0))
            yield total
        threads = GaugeMetricFamily(f"{_PREFIX}_threads", "Threads that are watched now.", labels=_LABELS)
        frozen = GaugeMetricFamily(f"{_PREFIX}_stopped", "1 while a violation has the watch stopped.", labels=_LABELS)
        for one in watched:
            threads.add_metric(_values(one), one.value.threads)
            frozen.add_metric(_values(one), int(one.value.frozen))
        yield threads
        yield frozen


def _values(one: Watched) -> list[str]:
    container, policy = one.entry["container"], one.entry["policy"]
    found = (container.get("name") or "", container.get("id") or "", container.get("engine") or "", policy["name"])
    return [str(each)[:_MOST] for each in found]
