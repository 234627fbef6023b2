"""Which cgroups the cases see: cgroup v2 alone, in one of the run's own. The host's other hierarchies are left alone.

Facts relied on: cgroups(7), cgroup_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os

from rig import namespace
from rig.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount, unmount_below
from rig.process import RigError

_CLONE_NEWNS, _CLONE_NEWCGROUP = 0x00020000, 0x02000000  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)
_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC


def described() -> str:
    """What there is, with the controllers, in the namespace that `rig.namespace.enter` made."""
    controllers = (namespace.CGROUP_DIR / "cgroup.controllers").read_text().split()
    return f"cgroup v2 with {', '.join(sorted(controllers)) or 'no controllers'}"


def enter_own(name: str) -> None:
    """Leave this process, and all that it starts, in a cgroup of its own that is the root to it.

    Runs beside others then share no cgroup, though their containers have the same names.
    """
    own = namespace.CGROUP_DIR / name
    own.mkdir()
    (own / "cgroup.procs").write_text(str(os.getpid()))
    # Of libc, as os.unshare is there from Python 3.12 on.
    if _libc.unshare(_CLONE_NEWNS | _CLONE_NEWCGROUP):
        raise RigError(f"unshare: {os.strerror(ctypes.get_errno())}")
    unmount_below(namespace.CGROUP_DIR)
    mount("cgroup2", namespace.CGROUP_DIR, "cgroup2", _FLAGS)
