"""Cases that pass under runc and cannot under the shim, each with why. Whatever is not here is a defect."""

from __future__ import annotations

from collections.abc import Mapping

from .ways import Way

_AGENT = (
    "the container's profile hands `execve`, `openat`, `read` and `close` to an agent. What that answers to the "
    "launcher cannot be known, so nothing is started"
)

EXPLAINED: Mapping[Way, Mapping[str, str]] = {
    Way.ENFORCED: {
        "exec: runc exec [exit codes]": (
            "wants 255 where there is no such program. What runc starts is the launcher, and that finds none: 127, as "
            "shells have it"
        ),
        "exec: runc exec --preserve-fds": (
            "opens `/proc/self/fd/4`, a file outside of the container's root, anew. No path of a policy leads there, "
            "so Landlock refuses; reading descriptor 4 itself works"
        ),
        "no_pivot: runc run --no-pivot must not expose bare /proc": (
            "wants a mount to fail in one particular way. Under rules for files Landlock refuses all mounts, so it "
            "fails a step earlier"
        ),
        "seccomp-notify: runc run [seccomp] (SCMP_ACT_NOTIFY important syscalls noNewPrivileges false)": _AGENT,
        "seccomp-notify: runc run [seccomp] (SCMP_ACT_NOTIFY important syscalls noNewPrivileges true)": _AGENT,
    },
}
