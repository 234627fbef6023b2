"""scmm-hook: the OCI prestart/createRuntime and poststop hook pair that records a container.

Stands on every container start, so it imports the standard library only, and little of it. A recording
problem never stops a container, unless its annotation says `scmm.record=required`: it is logged, and the
hook succeeds.
"""

from __future__ import annotations

import _signal as signal
import os
import sys
import time

from scmm_oci.oci import annotations as wishes
from scmm_oci.oci import state
from scmm_oci.recorder import settings as settings_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

START = ("prestart", "createRuntime")
STOP = ("poststop",)
PROGRAM = "scmm-hook"
MAX_LOG = 1 << 20  # bytes; then the log is begun anew, with the old one kept beside it


class DeadlineExceeded(Exception):
    """The hook took longer than its settings allow."""


def _alarm(signum: int, frame: object) -> None:
    raise DeadlineExceeded("the hook took too long")


def log(path: str, message: str, *, now: float, loud: bool = True, program: str = PROGRAM) -> None:
    """One line to the log file, and to stderr (which runtimes show when a hook fails) if `loud`.

    Never fails: what cannot be logged must not stop a container.
    """
    line = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in message)
    if loud:
        try:
            sys.stderr.write(f"{program}: {line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass
    try:
        from scmm_oci.recorder.ledger import private_directory

        # /var/log may be writable by a group of log writers.
        private_directory(os.path.dirname(path), above=False)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(now))} {line}\n".encode())
            if os.fstat(descriptor).st_size > MAX_LOG:
                os.rename(path, path + ".1")
        finally:
            os.close(descriptor)
    except OSError:
        pass


class Pair:
    """What a pair of hooks does, and what it says where that fails.

    Attributes:
        begin, end: called with the container's state, the settings and what `run` knows besides.
        is_needed: whether the container is not to start where `begin` fails; of None where its state cannot be read.
        program: the starter's name; option: a word that may stand behind the stage, with a value for it.
        lost: what is said where a container starts all the same; kept: what has not been done at its end.
    """

    __slots__ = ("begin", "end", "is_needed", "kept", "lost", "option", "program")

    def __init__(
        self,
        *,
        program: str,
        begin: Callable[[state.State, settings_module.Settings, Given], None],
        end: Callable[[state.State, settings_module.Settings, Given], None],
        is_needed: Callable[[state.State | None], bool],
        lost: str,
        kept: str,
        option: str = "",
    ) -> None:
        self.program = program
        self.begin = begin
        self.end = end
        self.is_needed = is_needed
        self.lost = lost
        self.kept = kept
        self.option = option


class Given:
    """What a hook is given beside the container's state.

    now: seconds since the epoch; caller: the process that called the hook; own: this process is the hook's own, and
    may be confined for good; option: the value of the pair's, "" without.
    """

    __slots__ = ("caller", "now", "option", "own")

    def __init__(self, *, now: float, caller: int, own: bool, option: str = "") -> None:
        self.now = now
        self.caller = caller
        self.own = own
        self.option = option


def main(argv: Sequence[str] | None = None) -> int:
    """Run one hook of the recorder; see `run`."""
    return run(_RECORDER, argv)


def run(pair: Pair, argv: Sequence[str] | None) -> int:
    """Run one hook. 0, or 1 for a failed poststop or a failed start of what is needed, 2 for usage.

    argv: None takes the process's, which is the hook's own then: poststop confines it for good.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    settings_path = None
    if len(words) >= 2 and words[0] == "--settings":
        settings_path = words[1]
        del words[:2]
    given = Given(now=time.time(), caller=os.getppid(), own=argv is None)
    if len(words) >= 3 and words[-2] == "--called-by" and words[-1].isascii() and words[-1].isdigit():
        given.caller = int(words.pop())  # the starter's parent, where the starter waits for us
        words.pop()
    if pair.option and len(words) == 3 and words[1] == pair.option:
        given.option = words.pop()
        words.pop()
    if len(words) != 1 or words[0] not in START + STOP:
        option = f" [{pair.option} VALUE]" if pair.option else ""
        stages = "|".join(START + STOP)
        sys.stderr.write(f"usage: {pair.program} [--settings FILE] {stages}{option} < container-state.json\n")
        return 2
    stage, now, needed = words[0], given.now, False
    os.umask(0o077)  # runtimes may call with 0, and directories above ours get no mode of their own
    settings, unusable = settings_module.check({}), None
    try:
        settings = settings_module.read(settings_path)
    except (OSError, ValueError) as error:
        unusable = error
    wanted = None
    try:
        signal.signal(signal.SIGALRM, _alarm)
        signal.setitimer(signal.ITIMER_REAL, settings.deadline)
        needed = stage in START and pair.is_needed(None)
        wanted = state.parse_state(sys.stdin.buffer.read(state.MAX_STATE + 1))
        needed = stage in START and pair.is_needed(wanted)
        if unusable is not None:
            raise unusable
        if stage in START:
            pair.begin(wanted, settings, given)
        else:
            pair.end(wanted, settings, given)
    except (OSError, ValueError, DeadlineExceeded) as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        subject = f"container {wanted.id[:64]}: " if wanted else ""
        outcome = pair.kept if stage in STOP else "not started" if needed else pair.lost
        log(settings.log_file, f"{stage}: {subject}{outcome}: {text}", now=now, program=pair.program)
        return int(needed or stage in STOP)
    except Exception as error:
        # A defect of ours: the container goes on all the same, and the log has what is needed to mend it.
        signal.setitimer(signal.ITIMER_REAL, 0)
        import traceback

        text = "".join(traceback.format_exception(error))
        log(settings.log_file, f"{stage}: unexpected: {text}", now=now, program=pair.program)
        return int(needed or stage in STOP)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


def _start(wanted: state.State, settings: settings_module.Settings, given: Given) -> None:
    now = given.now
    wish = wishes.read(wanted.annotations, default_name=default_name(wanted.id))
    if wish.problems:
        message = f"annotation {'; '.join(wish.problems)}"
        if wish.required or not wish.record:
            raise ValueError(message)
        log(settings.log_file, f"container {wanted.id[:64]}: {message}; recording as {wish.name}", now=now)
    if not wish.record:
        return
    if not wanted.pid:
        raise ValueError("the container state has no pid: not a prestart or createRuntime hook?")
    from scmm_oci.recorder import runtimes, session
    from scmm_oci.recorder.ledger import Ledger, private_directory

    private_directory(settings.run_dir)
    question = runtimes.Question(runtimes.executable_of(given.caller), directory=settings.run_dir)
    process = _process(wanted, settings, now=now)
    with Ledger(settings.run_dir) as ledger:
        session.begin(
            ledger,
            settings,
            container={
                "id": wanted.id,
                "args": process.args,
                "uid": process.uid,
                "gid": process.gid,
                "no_new_privileges": process.no_new_privileges,
                "seccomp": process.seccomp,
            },
            bundle=wanted.bundle,
            files={"root": process.root, "mounts": process.mounts},
            pid=wanted.pid,
            name=wish.name,
            depth=wish.depth,
            runtime=question.answer,
            now=now,
            monotonic=time.monotonic_ns(),
        )


def default_name(container_id: str) -> str:
    """A capture name made of a container id, which may hold characters that a name may not."""
    name = "".join(each if wishes.is_capture_name("x" + each) else "_" for each in container_id)
    return ("_" + name if name[0] in ".-" else name)[: wishes.MAX_NAME]


def _process(wanted: state.State, settings: settings_module.Settings, *, now: float) -> state.Process:
    try:
        return state.read_process(wanted.bundle)
    except (OSError, ValueError) as error:
        # What the bundle says makes the capture more useful; without it there is still a recording.
        log(settings.log_file, f"container {wanted.id[:64]}: {wanted.bundle}/config.json: {error}", now=now)
        return state.Process()


def _stop(wanted: state.State, settings: settings_module.Settings, given: Given) -> None:
    now = given.now
    if not os.path.isdir(settings.run_dir):
        return
    from scmm_oci.recorder import confined, pins, session
    from scmm_oci.recorder.ledger import Ledger

    with Ledger(settings.run_dir) as ledger:
        entries = [entry for entry in ledger.entries() if session.is_of(entry, wanted.id, wanted.bundle)]
        if given.own and entries:
            try:
                confined.confine(settings, entries)
            except OSError as error:
                log(settings.log_file, f"container {wanted.id[:64]}: not confined: {error}", now=now)
        for entry in entries:
            try:
                path, document = session.finish(ledger, settings, entry, now=now)
            except pins.PinsMissing:
                ledger.remove(entry["slot"])  # what it held is gone with the maps
                raise
            log(settings.log_file, f"container {wanted.id[:64]}: {summary(document)}: {path}", now=now, loud=False)


def summary(document: dict[str, Any]) -> str:
    """One line on a capture: how many names the program used, and whether anything is missing."""
    calls = [call for each in document["sessions"] for call in each["phases"]["app"]]
    missing = ", ".join(f"{each['kind']} {each['count']}" for each in document["losses"])
    return f"{len({(call['arch'], call['nr']) for call in calls})} system calls, " + (
        f"incomplete ({missing})" if missing else "complete"
    )


_RECORDER = Pair(
    program=PROGRAM,
    begin=_start,
    end=_stop,
    is_needed=lambda wanted: wanted is not None and wishes.is_required(wanted.annotations),
    lost="not recorded",
    kept="not saved",
)


if __name__ == "__main__":
    sys.exit(main())
