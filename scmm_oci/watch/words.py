"""What followers are told, as events and as lines: an alert, alerts that were missed, a watch that froze or is over.

An event is a mapping that goes to JSON as it is (docs/watch.md has its keys). What a container chooses (names, paths,
arguments) is data in an event, and escaped in a line. Pure; the clock's offset is given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scmm_oci.enforcer.monitor import calls
from scmm_oci.enforcer.monitor.model import Call
from scmm_oci.errors import printable
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import NARROW, Arch
from scmm_oci.watch.wire import ANY, ARCHES, PHASES

if TYPE_CHECKING:
    from scmm_oci.watch.wire import Alert

Event = dict[str, Any]

# What of a watch's counters is told, where it is not 0: (name, one, many).
COUNTED = (
    ("violations", "violation", "violations"),
    ("kills", "kill", "kills"),
    ("freezes", "stop", "stops"),
    ("failed", "kill or stop that the kernel refused", "kills or stops that the kernel refused"),
    ("unreported", "violation without an alert (too many at once)", "violations without an alert (too many at once)"),
    ("left", "thread that left the cgroup", "threads that left the cgroup"),
    ("lost_threads", "thread that could not be watched", "threads that could not be watched"),
    ("lost_cgroups", "cgroup that could not be watched", "cgroups that could not be watched"),
    ("lost_handlers", "signal handler too many at once", "signal handlers too many at once"),
)
_DONE = {"none": "", "freeze": ": stopped", "kill": ": killed", "failed": ": the kernel did not take the signal"}
_AFTER = {
    states.EXEC: "as the first call of a program",
    states.FORK: "as the first call of a new process",
    states.THREAD: "as the first call of a new thread",
    states.SIGNAL: "as the first call of a signal handler",
    states.FOREIGN: "after a call of another ABI",
    "any": "though nothing leads there",
}


def event(alert: Alert, entry: Mapping[str, Any], *, offset: int) -> Event:
    """An alert of the watch that has this entry in the ledger.

    offset: what to add to CLOCK_MONOTONIC for the time since 1970, ns.
    """
    arch = arch_of(alert.abi)
    before, state, to = (
        None if each is None else word_of(arch, each)
        for each in (None if alert.before == ANY else alert.before, alert.state, alert.to)
    )
    return {
        **_head("alert", entry),
        "time": moment(alert.at + offset),
        "seq": alert.seq,
        "kind": alert.kind,
        "done": alert.action,
        "phase": PHASES[alert.serving],
        "arch": str(arch),
        "edge": None if alert.kind == "left" else {"before": before, "from": state, "to": to},
        "call": None if alert.to is None or to is None else _call(arch, to, alert),
        "recent": [word_of(arch, each) for each in alert.recent],
        "process": {
            "pid": alert.tgid,
            "tid": alert.tid,
            "pid_inside": alert.ns_tgid or None,
            "started_ns": alert.leader_started,
            "comm": alert.comm,
            "executable": alert.path,
        },
    }


def gap(entry: Mapping[str, Any], missed: int) -> Event:
    """So many alerts were overwritten before they were read."""
    return {**_head("gap", entry), "missed": missed}


def begun(entry: Mapping[str, Any]) -> Event:
    """A watch that is followed from here on."""
    return {**_head("watching", entry), "time": entry.get("started_at"), "action": entry.get("action")}


def froze(entry: Mapping[str, Any], problem: str | None) -> Event:
    """The watch's cgroup was frozen, or why it could not be: what was seen to run is stopped all the same."""
    return {**_head("frozen", entry), "problem": problem}


def over(summary: Mapping[str, Any]) -> Event:
    """A watch that has ended: its summary without its alerts."""
    return {
        **_head("ended", summary),
        **{name: summary.get(name) for name in ("started_at", "ended_at", "why", "counters")},
    }


def _head(kind: str, entry: Mapping[str, Any]) -> Event:
    return {
        "type": kind,
        "watch": entry.get("epoch"),
        "container": entry.get("container"),
        "policy": entry.get("policy"),
    }


def arch_of(abi: int) -> Arch:
    """The ABI by its number in the maps, on this machine."""
    found = ARCHES[os.uname().machine][abi]
    assert found is not None  # the programs know no other
    return Arch(found)


def word_of(arch: Arch, state: int) -> str:
    """The word of a state's number; of one that no word is for, the number."""
    found = states.words(arch).get(state)
    if found is not None:
        return found
    return "any" if state == ANY else f"#{state}"


def _call(arch: Arch, to: str, alert: Alert) -> dict[str, Any]:
    name = states.call_of(to)
    number = None if name is None else syscalls.numbers(arch).get(name)
    known = None if number is None else name
    number = alert.to if number is None else number
    # Above that, a program of 64 bits has what it likes when it calls as one of 32.
    one, two, three, four, five, six = (each & 0xFFFFFFFF if arch in NARROW else each for each in alert.args)
    made = Call(arch, arch.audit, number or 0, known, (one, two, three, four, five, six))
    return {"name": known, "number": number, "args": list(alert.args), "words": calls.words(made)}


def moment(nanoseconds: int) -> str:
    """UTC as RFC 3339, to the millisecond, of a time since 1970."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1_000_000:03}Z"


def line(told: Event) -> str:
    """An event on one line, which is safe to print."""
    text = {"alert": _alert, "gap": _gap, "watching": _watching, "frozen": _frozen, "ended": _ended}[told["type"]](told)
    return printable(f"{who(told)}: {text}")


def who(told: Event) -> str:
    """The container: its name, or the beginning of its id."""
    container = told.get("container") or {}
    return printable(str(container.get("name") or str(container.get("id") or "?")[:12]))


def process(told: Event) -> str:
    """The process of an alert: what it executes, its number, and what it calls itself if that is another name."""
    found = told["process"]
    path = found["executable"]
    name = calls.quoted(path) if path else "a program without a name"
    usual = (path or "").rpartition("/")[2][:15]  # the kernel keeps 15 bytes: proc_pid_comm(5)
    own = "" if found["comm"] == usual else f", calls itself {calls.quoted(found['comm'])}"
    thread = f", thread {found['tid']}" if found["tid"] != found["pid"] else ""
    return f"{name} ({found['pid']}{thread}{own})"


def what(told: Event) -> str:
    """What an alert is about, in words."""
    edge = told["edge"]
    if edge is None:
        return "has moved out of the watched cgroup"
    call = told["call"]["words"] if told["call"] else "a call"
    if told["kind"] == "no-machine":
        return f"{call}, though the policy says nothing of {told['arch']}"
    if told["kind"] == "no-handler":
        return f"{call} outside of any signal handler"
    after = _AFTER.get(edge["from"], f"after {edge['from']}")
    if edge["before"] is not None and edge["from"] not in _AFTER:
        after = f"after {edge['before']} and {edge['from']}"
    serving = ", while it serves" if told["phase"] == "serving" else ""
    return f"{call} {after}{serving}"


def done(told: Event) -> str:
    """What the kernel did about an alert, as the end of a sentence."""
    return _DONE.get(told["done"], "")


def trail(told: Event) -> str:
    """The calls that the thread made before, the last one last."""
    return " → ".join(told["recent"])


def _alert(told: Event) -> str:
    before = f" [{trail(told)}]" if told["recent"] else ""
    return f"{told['time'][11:-1]} {process(told)}: {what(told)}{done(told)}{before}"


def _gap(told: Event) -> str:
    count = told["missed"]
    return f"{count} alert{'' if count == 1 else 's'} overwritten before {'it was' if count == 1 else 'they were'} read"


def _watching(told: Event) -> str:
    return f"watched since {told['time']}, with the policy {(told['policy'] or {}).get('name')}: {told['action']}"


def _frozen(told: Event) -> str:
    if told["problem"]:
        return f"stopped, but its cgroup is not frozen: {told['problem']}"
    return "frozen; let it go on: scmm-watch --thaw " + who(told)


def _ended(told: Event) -> str:
    return f"the watch is over: {told['why']}; {counted(told['counters'])}"


def counted(counters: Mapping[str, int] | None) -> str:
    """A watch's counters in words."""
    if counters is None:
        return "what it saw is not known"
    found = [
        f"{counters[name]} {one if counters[name] == 1 else more}" for name, one, more in COUNTED if counters.get(name)
    ]
    return ", ".join(found) or "no violation"
