"""Where a runtime keeps what it knows of containers. Standard library only; called by the shim (scmm-runc)."""

from __future__ import annotations

import os

from scmm_oci.oci.runtime_options import CRUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scmm_oci.oci.runtime_argv import CommandLine

# user_namespaces(7): what uid_map says outside of all user namespaces but the first.
_INITIAL = b"0 0 4294967295"


def of(line: CommandLine) -> str:
    """The absolute directory with a container's state below: --root, or the runtime's default."""
    return os.path.abspath(given(line))


def given(line: CommandLine) -> str:
    """The same as the runtime has it, which may begin in a working directory: at a create in that of the bundle.

    runc(8) and crun(1): /run/runc and /run/crun. In XDG_RUNTIME_DIR it is for root too with crun, which asks nobody who
    they are (get_run_directory in status.c, measured: 1.8.1), and for others with runc, which counts root in a user
    namespace among them, unless USER says root (main.go).
    """
    if line.root is not None:
        return line.root
    above = os.environ.get("XDG_RUNTIME_DIR")
    own = line.dialect == CRUN or os.geteuid() != 0 or (in_user_namespace() and os.environ.get("USER") != "root")
    return os.path.join(above if above and own else "/run", line.dialect)


def in_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map", "rb", buffering=0) as file:
            return b" ".join(file.read(4096).split()) != _INITIAL
    except OSError:
        return False
