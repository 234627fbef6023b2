"""What is special about each system call for the watch, made of the tables: the value of the map ``plans``. Pure.

Used when the watch is prepared, once per boot (scmm_oci.kernel.prepared keeps the result).
"""

from __future__ import annotations

from scmm_oci.recorder.plans import refinement
from scmm_oci.tables import states, syscalls
from scmm_oci.watch import wire

_BITS = {
    "rt_sigreturn": wire.PLAN_SIGRETURN,
    "sigreturn": wire.PLAN_SIGRETURN,
    "restart_syscall": wire.PLAN_RESTART,
    "socketcall": wire.PLAN_SOCKETCALL,
}


def plans(machine: str) -> bytes:
    """struct scmm_watch_plan for every number of every ABI of a machine ("x86_64" or "aarch64")."""
    result = []
    for arch in wire.ARCHES[machine]:
        names = {number: name for name, number in syscalls.numbers(arch).items()} if arch else {}
        for number in range(wire.STATES):
            name = names.get(number) if number < states.FIRST else None
            if name is None or arch is None:
                result.append(bytes(wire.PLAN.size))
                continue
            refined, extra = refinement(name, arch=arch)
            result.append(wire.PLAN.pack(refined, _BITS.get(name, 0), extra))
    return b"".join(result)
