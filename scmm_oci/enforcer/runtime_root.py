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
    """The absolute directory with a container's state below: --root, or the runtime's default.

    runc(8) and crun(1): /run/runc and /run/crun, and for other users than root those in XDG_RUNTIME_DIR. runc (main.go)
    counts root in a user namespace among them, unless USER says root.
    """
    if line.root:
        return os.path.abspath(line.root)
    above = os.environ.get("XDG_RUNTIME_DIR")
    own = os.geteuid() != 0
    if not own and line.dialect != CRUN:
        own = in_user_namespace() and os.environ.get("USER") != "root"
    return os.path.join(os.path.abspath(above) if above and own else "/run", line.dialect)


def in_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map", "rb", buffering=0) as file:
            return b" ".join(file.read(4096).split()) != _INITIAL
    except OSError:
        return False
