"""What the kernel side is to keep of each system call, made of the tables: the value of the map ``plans``.

Used when the recorder is prepared, once per boot (scmm_oci.kernel.prepared keeps the result).
"""

from __future__ import annotations

from scmm_oci.recorder import wire
from scmm_oci.tables import arguments, operations, states, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scmm_oci.tables.arguments import Argument

# Offsets in words of 8 bytes: struct clone_args and struct open_how, clone(2) and openat2(2).
_OF_SOCKETS = ("address", "message", "messages")
FIELDS = {("clone3", "flags"): 0, ("openat2", "flags"): 0, ("openat2", "resolve"): 2}

_CLASSES = {states.ACCESS: wire.BY_ACCESS, states.PROTECTION: wire.BY_PROTECTION, states.FAMILY: wire.BY_FAMILY}
# What a call that begins means for its process, see capture.facts.Stage.
_STAGES = {
    "listen": wire.PLAN_LISTEN,
    "accept": wire.PLAN_ACCEPT,
    "accept4": wire.PLAN_ACCEPT,
    "socketcall": wire.PLAN_SOCKETCALL,
}
# i386's first mmap(2) takes a pointer to its arguments: mm/mmap.c, old_mmap.
_IN_MEMORY = {("x86", "mmap")}


def plans(machine: str) -> bytes:
    """struct scmm_plan for every number of every ABI of a machine ("x86_64" or "aarch64")."""
    empty = plan_of("")
    result = []
    for arch in wire.ARCHES[machine]:
        names = {number: name for name, number in syscalls.numbers(arch).items()} if arch else {}
        kept = arguments.arguments(arch) if arch else {}
        for number in range(wire.NR_MAX):
            name = names.get(number)
            result.append(plan_of(name, kept.get(name, ()), arch=arch or "") if name else empty)
    return b"".join(result)


def plan_of(name: str, kept: Sequence[Argument] = (), *, arch: str = "") -> bytes:
    """struct scmm_plan of a call, with these of its arguments; nothing of a name that the tables have nothing on."""
    bits = {"rt_sigreturn": wire.PLAN_SIGRETURN, "sigreturn": wire.PLAN_SIGRETURN}.get(name, 0) | _STAGES.get(name, 0)
    if name == "restart_syscall":
        bits |= wire.PLAN_RESTART
    specs, masks = [], []
    for argument in kept:
        spec = spec_of(name, argument)
        bits |= wire.PLAN_MEMORY if spec & wire.SPEC_MEMORY else wire.PLAN_ARGUMENTS
        specs.append(spec)
        masks.append(argument.mask & 0xFFFFFFFF)
    call = operations.file_call(arch, name)
    if name == "openat2":
        bits |= wire.PLAN_FLAGS_MEMORY
    codes = operations.SOCKET_CODE if call.kind in _OF_SOCKETS else operations.CODE
    ops, dirfds, places = [0, 0], [wire.NO_ARGUMENT] * 2, [wire.NO_ARGUMENT] * 2
    for index, (dirfd, place, operation) in enumerate(call.names):
        ops[index] = codes[operation]
        dirfds[index] = wire.NO_ARGUMENT if dirfd is None else dirfd
        places[index] = place
    flags = wire.NO_ARGUMENT if call.flags is None else call.flags
    missing = wire.SPECS - len(specs)
    return wire.PLAN.pack(
        *(bits, operations.KIND[call.kind], *ops, *dirfds, *places, flags),
        *(*specs, *[0] * missing, *refinement(name, arch=arch)),
        *(call.mask, call.implied, *masks, *[0] * missing),
    )


def refinement(name: str, *, arch: str = "") -> tuple[int, int]:
    """(how a call's class is found, as enum scmm_refined has it; the number of its second class), or zeros."""
    if name not in states.REFINED:
        return 0, 0
    names, index = states.REFINED[name]
    refined = _CLASSES[names] | index << wire.REFINED_INDEX
    if (arch, name) in _IN_MEMORY:
        refined |= wire.REFINED_MEMORY
    return refined, states.NUMBERS[f"{name}:{names[1]}"]


def spec_of(name: str, argument: Argument) -> int:
    """enum scmm_spec: how the kernel side reads an argument."""
    spec = argument.indexes[0] + 1
    if argument.wide:
        spec |= wire.SPEC_WIDE
    if len(argument.indexes) == 2:
        spec |= wire.SPEC_PAIR
    if argument.field is not None:
        spec |= wire.SPEC_MEMORY | FIELDS[name, argument.field] << wire.SPEC_OFFSET
    return spec
