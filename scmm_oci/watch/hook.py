"""scmm-watch-hook: the OCI prestart/createRuntime and poststop hook pair that has a container watched.

The annotations scmm.watch and scmm.policy ask for it (scmm_oci.oci.annotations). Where no watch can begin, a container
starts all the same under `count` and `alert`, which is logged, and does not under `freeze` and `kill`. The one at its
end takes the watch out of the kernel and logs what it saw.

Stands on the start of every watched container. The standard library is enough for it.
"""

from __future__ import annotations

import os
import sys

from scmm_oci.oci import annotations as wishes
from scmm_oci.recorder import hook as pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from scmm_oci.oci.annotations import Watching
    from scmm_oci.oci.state import State
    from scmm_oci.recorder.settings import Settings
    from scmm_oci.watch.machines import Machines

PROGRAM = "scmm-watch-hook"
LAUNCHER = "--launcher"  # what scmm-runc tells of its own, see enforcer.added_hooks
MOST_EVENTS = 16  # of a watch that has ended, for the log

# Annotations of engines and of CRI that have a container's name; the first that is there.
_NAMES = (
    "io.kubernetes.cri.container-name",
    "io.kubernetes.cri-o.ContainerName",
    "nerdctl/name",
    wishes.NAME,
)
# What of a bundle's path tells the engine: containerd keeps bundles by namespace, and Docker's is moby.
_ENGINES = (("/moby/", "docker"), ("/k8s.io/", "containerd"), ("/io.containerd.runtime", "containerd"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one hook; see scmm_oci.recorder.hook.run."""
    return pair.run(_WATCH, argv)


def _begin(wanted: State, settings: Settings, given: pair.Given) -> None:
    wish = wishes.watching(wanted.annotations)
    if wish.problems:
        raise ValueError("; ".join(wish.problems))
    if not wish.is_asked or _is_sandbox(wanted):
        return
    if not wanted.pid:
        raise ValueError("the container state has no pid: not a prestart or createRuntime hook?")
    try:
        _watch(wanted, wish, settings, given)
    except (OSError, ValueError, pair.DeadlineExceeded):
        raise
    except Exception as error:
        from scmm_oci.errors import BadInput  # dear, as all that raises it

        if not isinstance(error, BadInput):
            raise
        why = "; ".join(str(each) for each in error.problems)
        raise ValueError(f"the policy {wish.policy} is none to watch by: {why}") from None


def _watch(wanted: State, wish: Watching, settings: Settings, given: pair.Given) -> None:
    from scmm_oci.enforcer import private
    from scmm_oci.enforcer.store import Store

    data = Store(settings.policy_dir).read(wish.policy, wish.digest)
    digest = wish.digest or private.sha256(data)
    from scmm_oci.recorder.ledger import private_directory
    from scmm_oci.watch import kept, session

    def make() -> Machines:
        from scmm_oci.compiled.polfile import reader
        from scmm_oci.watch import machine

        return machine.machines_of(reader.read(data), machine=os.uname().machine)

    for each in (settings.run_dir, session.directory(settings)):
        private_directory(each)
    session.begin(
        settings,
        policy=None,
        machines=kept.machines(session.directory(settings), digest, make),
        policy_name=wish.policy,
        digest=digest,
        action=wish.action,
        pid=wanted.pid,
        container={"id": wanted.id, "name": name_of(wanted), "engine": engine_of(wanted)},
        now=given.now,
        attached=False,
        bundle=wanted.bundle,
        launcher=_file(given.option) if given.option else None,
    )


def _is_sandbox(wanted: State) -> bool:
    """Whether it is a pod's sandbox, to which the pod's annotations come, too: its program is the engine's."""
    if not any(key.startswith("io.kubernetes.") for key in wanted.annotations):
        return False
    from scmm_oci.enforcer.wishes import is_sandbox

    return is_sandbox(wanted.annotations, wanted.id)


def name_of(wanted: State) -> str:
    """What people call the container; "" where nobody tells."""
    found = next((wanted.annotations[key] for key in _NAMES if wanted.annotations.get(key)), "")
    return "".join(each if each.isprintable() else "?" for each in found)[:128]


def engine_of(wanted: State) -> str | None:
    """The engine whose container it is, as far as its annotations or its bundle tell; else None."""
    if wanted.annotations.get("io.container.manager") == "libpod":
        return "podman"
    return next((engine for word, engine in _ENGINES if word in wanted.bundle), None)


def _file(path: str) -> tuple[int, int]:
    """Device and inode of a file. Raises OSError."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _end(wanted: State, settings: Settings, given: pair.Given) -> None:
    from scmm_oci.recorder.session import is_of
    from scmm_oci.watch import session

    subject = f"container {wanted.id[:64]}"
    entries = [each for each in session.entries(settings) if is_of(each, wanted.id, wanted.bundle)]
    if not entries:
        return
    if given.own:
        from scmm_oci.watch import confined

        try:
            confined.confine(settings, entries)
        except OSError as error:
            pair.log(settings.log_file, f"{subject}: not confined: {error}", now=given.now, program=PROGRAM)
    summary = session.end(settings, container_id=wanted.id, bundle=wanted.bundle, now=given.now)
    for line in lines(summary) if summary else ():
        pair.log(settings.log_file, f"{subject}: {line}", now=given.now, loud=False, program=PROGRAM)


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What a watch that has ended saw, for the log: a line on all of it, and one for each of the last alerts."""
    counters, events = summary["counters"], summary["events"]
    by = f"watched by {summary['policy']['name']} ({summary['action']})"
    if counters is not None and not any(counters.values()) and not events:
        yield f"{by}: no violation"
        return
    from scmm_oci.watch import words

    yield f"{by}: {words.counted(counters)}"
    for each in events[-MOST_EVENTS:]:
        yield words.line(each)


_WATCH = pair.Pair(
    program=PROGRAM,
    begin=_begin,
    end=_end,
    # A state that cannot be read may have asked for it: the hook is called where it is asked for.
    is_needed=lambda wanted: wanted is None or wishes.watching(wanted.annotations).is_closed,
    lost="not watched",
    kept="the watch has not been ended",
    option=LAUNCHER,
)


if __name__ == "__main__":
    sys.exit(main())
