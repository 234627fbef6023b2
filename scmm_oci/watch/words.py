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
from scmm_oci.recorder.wire import ARCHES
from scmm_oci.tables import states
from scmm_oci.tables.arch import Arch

if TYPE_CHECKING:
    from scmm_oci.watch.wire import Alert

Event = dict[str, Any]

# What of a watch's counters is told at its end, where it is not 0: (name, one, many).
COUNTED = (
    ("violations", "violation", "violations"),
    ("kills", "kill", "kills"),
    ("unreported", "alert beyond what is kept each second", "alerts beyond what is kept each second"),
    ("left", "thread that left the cgroup", "threads that left the cgroup"),
    ("lost_threads", "thread that could not be watched", "threads that could not be watched"),
    ("lost_cgroups", "cgroup that could not be watched", "cgroups that could not be watched"),
)
_DONE = {"count": "counted", "alert": "reported", "freeze": "stopped", "kill": "killed"}
_AFTER = {
    states.EXEC: "as the first call of a program",
    states.FORK: "as the first call of a new process",
    states.THREAD: "as the first call of a new thread",
    states.SIGNAL: "as the first call of a signal handler",
    states.FOREIGN: "after a call of another ABI",
    "any": "though nothing in the policy leads there",
}


def event(alert: Alert, entry: Mapping[str, Any], *, offset: int) -> Event:
    """An alert of the watch that has this entry in the ledger.

    offset: what to add to CLOCK_MONOTONIC for the time since 1970, ns.
    """
    arch = arch_of(alert.abi)
    to = word_of(arch, alert.to)
    return {
        **_head("alert", entry),
        "time": moment(alert.at + offset),
        "seq": alert.seq,
        "kind": alert.kind,
        "action": alert.action,
        "phase": alert.phase,
        "arch": str(arch),
        "edge": {
            "before": None if alert.before is None else word_of(arch, alert.before),
            "from": word_of(arch, alert.origin),
            "to": to,
        },
        "call": _call(arch, to, alert) if alert.kind in ("edge", "sigreturn", "abi") else None,
        "recent": [word_of(arch, each) for each in alert.recent],
        "process": {
            "pid": alert.tgid,
            "tid": alert.tid,
            "pid_inside": alert.inside or None,
            "started_ns": alert.started,
            "comm": os.fsdecode(alert.comm),
            "executable": os.fsdecode(alert.exe) or None,
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
    """The ABI by its number in the maps (recorder.wire.ARCHES) on this machine."""
    found = ARCHES[os.uname().machine][abi]
    return Arch(found) if found is not None else Arch.X86_64


def word_of(arch: Arch, state: int) -> str:
    """The word of a state's number; of one that no word is for, the number."""
    found = states.words(arch).get(state)
    if found is not None:
        return found
    return "any" if state == ANY else f"#{state}"


ANY = 570  # bpf/watch.h: a thread whose past is not known


def _call(arch: Arch, to: str, alert: Alert) -> dict[str, Any]:
    name = states.call_of(to)
    number = states.called(arch).get(states.classes_of(name)[0]) if name is not None else None
    known = name if number is not None else None
    made = Call(arch, arch.audit, alert.to if number is None else number, known, tuple(alert.args))
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
    call = told["call"]["words"] if told["call"] else ""
    if told["kind"] == "left":
        return "has left the watched cgroup"
    if told["kind"] == "abi":
        return f"{call}: the policy has no transitions for {told['arch']}"
    if told["kind"] == "sigreturn":
        return f"{call} outside of any signal handler"
    after = _AFTER.get(edge["from"], f"after {edge['from']}")
    if edge["before"] is not None:
        after = f"after {edge['before']} and {edge['from']}"
    serving = " while it serves" if told["phase"] == "serving" else ""
    return f"{call} {after}{serving}"


def _alert(told: Event) -> str:
    recent = " → ".join(told["recent"])
    trail = f" [{recent}]" if recent else ""
    return f"{told['time'][11:-1]} {process(told)}: {what(told)}: {_DONE[told['action']]}{trail}"


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
    return ", ".join(found) or "nothing to tell"
