"""A policy's run-as and capabilities → an Identity of the compiled policy. Pure. Called by compiled.policy_file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from scmm_oci.compiled.polfile.model import Identity
from scmm_oci.errors import BadInput, unknown_value
from scmm_oci.policy.model import Policy

# By their numbers, from 0 (linux/capability.h).
_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""

# Name, with ``CAP_`` → bit, in the order of the numbers.
CAPABILITY_BITS: Mapping[str, int] = MappingProxyType(
    {f"CAP_{name}": 1 << number for number, name in enumerate(_NAMES.split())}
)
ALL_CAPABILITIES = sum(CAPABILITY_BITS.values())


def identity(policy: Policy) -> Identity:
    """Who the program is to be. What the policy does not speak of is None.

    Raises:
        BadInput: a capability has no number; with all that have none.
    """
    run_as = policy.settings.run_as
    return Identity(
        uid=run_as.uid if run_as is not None else None,
        gid=run_as.gid if run_as is not None else None,
        capabilities=capability_mask(policy.capabilities) if policy.capabilities is not None else None,
    )


def capability_mask(names: Iterable[str]) -> int:
    """The bits of capabilities by their names, with ``CAP_``.

    Raises:
        BadInput: a name is no capability; with all that are none.
    """
    mask, bad = 0, []
    for index, name in enumerate(names):
        if name in CAPABILITY_BITS:
            mask |= CAPABILITY_BITS[name]
        else:
            bad.append(unknown_value(f".capabilities[{index}]", "a capability", name, tuple(CAPABILITY_BITS)))
    if bad:
        raise BadInput(bad)
    return mask


def capability_names(mask: int) -> tuple[str, ...]:
    """The names of capabilities, in the order of their bits. Bits that are none are left out."""
    return tuple(name for name, bit in CAPABILITY_BITS.items() if mask & bit)
