"""What this kernel and this process have, found out by trying or reading, never from version numbers.

Used by scmm_oci.recorder.doctor. Each probe says what is missing in words a user can act on.
"""

from __future__ import annotations

import os

from scmm_oci.kernel import bpf, cgroup

BTF = "/sys/kernel/btf/vmlinux"

# capabilities(7), linux/capability.h. CAP_BPF and CAP_PERFMON are part of CAP_SYS_ADMIN on older kernels.
CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


def effective_capabilities() -> int:
    """The bit mask of /proc/self/status, CapEff."""
    with open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0


def missing_capabilities() -> list[str]:
    """Which capabilities loading and attaching the recorder lacks; CAP_SYS_ADMIN stands for the other two."""
    mask = effective_capabilities()
    if mask >> CAPABILITIES["CAP_SYS_ADMIN"] & 1:
        return []
    return [name for name in ("CAP_BPF", "CAP_PERFMON") if not mask >> CAPABILITIES[name] & 1]


def has_btf() -> bool:
    """Whether the kernel carries its own types (CONFIG_DEBUG_INFO_BTF)."""
    return os.access(BTF, os.R_OK)


def is_bpffs(path: str) -> bool:
    return bpf.is_bpffs(path)


def cgroup_mode() -> str:
    """`v2`, `hybrid` or `v1`: which hierarchies are mounted here; `none` without any."""
    kinds = {kind for kind, _, _, _ in cgroup.mounts()}
    has_controllers = any(
        name in options for kind, _, _, options in cgroup.mounts() if kind == "cgroup" for name in cgroup.V1_CONTROLLERS
    )
    if "cgroup2" in kinds:
        return "hybrid" if has_controllers else "v2"
    return "v1" if has_controllers else "none"
