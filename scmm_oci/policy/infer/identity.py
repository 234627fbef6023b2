"""Who the programs ran as, and which capabilities their calls show that they used. Called by policy.infer.

A capability leaves no trace of its own: what shows it is a call that succeeds only with it (capabilities(7)). Those
that only change what file modes mean show nowhere, so a program that ran as root keeps them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from scmm_oci.capture.facts import SocketOperation
from scmm_oci.capture.model import Capture
from scmm_oci.errors import Finding
from scmm_oci.policy.infer.observe import Tally
from scmm_oci.policy.model import RunAs
from scmm_oci.tables import syscalls
from scmm_oci.tables.privileges import UNSEEN, capability_for

# Below this a bind takes CAP_NET_BIND_SERVICE (ip_unprivileged_port_start of ip-sysctl.rst, as the kernel sets it).
_PRIVILEGED_PORTS = 1024


def run_as(captures: Sequence[Capture], findings: list[Finding]) -> RunAs | None:
    """The ids of the container's first process; None where they are not known or not the same in all."""
    seen = {(_real(capture.container.uid), _real(capture.container.gid)) for capture in captures}
    if len(seen) != 1:
        kinds = ", ".join(f"{uid}:{gid}" for uid, gid in sorted(seen, key=str))
        findings.append(Finding("many-users", f"the captures ran as different users ({kinds}): none is written"))
        return None
    uid, gid = next(iter(seen))
    return None if uid is None and gid is None else RunAs(uid, gid)


def _real(number: int | None) -> int | None:
    # (uid_t) -1 is no id: setresuid(2) takes it for "as it is".
    return None if number == 0xFFFF_FFFF else number


def capabilities(captures: Sequence[Capture], tallies: Mapping[str, Tally]) -> tuple[str, ...] | None:
    """The capabilities that the calls show, and for root those that no call shows; None where the user is not known."""
    users = {capture.container.uid for capture in captures}
    if None in users:
        return None
    values: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for capture in captures:
        for one in capture.arguments:
            called = one.name if one.name is not None else syscalls.name_of(one.arch, one.nr)
            if called is not None and len(one.indexes) == 1 and (one.field is None or one.field == "flags"):
                values[called][one.indexes[0]].update(one.values)
    used: set[str] = set()
    for name, made in tallies.items():
        if made.succeeded:
            seen = {index: frozenset(numbers) for index, numbers in values.get(name, {}).items()}
            used |= capability_for(name, seen)
    for capture in captures:
        for use in capture.sockets:
            bound = use.operation is SocketOperation.BIND and use.succeeded and use.family in ("inet", "inet6")
            if bound and use.port is not None and 0 < use.port < _PRIVILEGED_PORTS:
                used.add("CAP_NET_BIND_SERVICE")
    if 0 in users:
        used |= set(UNSEEN)
    return tuple(sorted(used))
