"""scmm-runc: an OCI runtime to engines, which changes what policies and recordings take, and becomes the real runtime.

Called by the starter (hooks/scmm-runc.in) on every create, run and exec, so it imports the standard library only, and
little of it. Enforcing fails closed: whatever goes wrong before the real runtime is executed with what was changed,
nothing has been started. Recording fails open, unless it is required.
"""

from __future__ import annotations

import os
import sys
import time

from scmm_oci.enforcer import passing, shim_settings, telling
from scmm_oci.oci import runtime_argv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scmm_oci.enforcer.shim_settings import Settings
    from scmm_oci.oci.runtime_argv import CommandLine

USAGE = "usage: scmm-runc SETTINGS NAME [OPTIONS] VERB …: run scmm install, which writes a starter that does so"
# Verbs after which a process runs that may have to be enforced.
STARTING = ("create", "run", "exec", "restore")
NO_RUNTIME = 127


def main(argv: Sequence[str] | None = None) -> int:
    """Do what an engine asks of its runtime. Returns only if it does not become that runtime.

    argv: the settings' file, the name that the starter was called by, and the engine's words; None takes the process's.
    Returns 1, as runc does, where nothing was started; 127 where there is no runtime to become.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if len(given) < 2:
        sys.stderr.write(USAGE + "\n")
        return 1
    path, called, *words = given
    line = runtime_argv.parse(words)
    try:
        settings = shim_settings.read(path)
    except (OSError, ValueError) as error:
        return _refuse(line, f"{text_of(error)}; run scmm install again")
    try:
        if words[:1] == [passing.ENDED]:
            from scmm_oci.enforcer import shim_end

            return shim_end.main(settings, words[1:])
        try:
            runtime = shim_settings.runtime(settings, called)
        except ValueError as error:
            _refuse(line, text_of(error))
            return NO_RUNTIME
        line = runtime_argv.parse(words, dialect=runtime_argv.dialect(runtime))
        if line.verb in ("state", "list") and not line.ambiguous:
            return _told(settings, runtime, line)
        inherited: dict[int, int] = {}
        passing.become(runtime, _words(settings, called, line, inherited), inherited)
    except (OSError, ValueError) as error:
        return _refuse(line, text_of(error))
    except Exception as error:
        # A defect of ours: nothing was started, and the log has what is needed to mend it.
        import traceback

        telling.note(settings.log_file, "".join(traceback.format_exception(error)), now=time.time())
        return _refuse(line, f"unexpected: {type(error).__name__}: {error}; see {settings.log_file}")


def text_of(error: Exception) -> str:
    """What an error says, with the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _words(settings: Settings, called: str, line: CommandLine, inherited: dict[int, int]) -> list[str]:
    """The words for the runtime; `inherited` gets what it has to have besides (passing.become)."""
    starting = {word.strip() for word in line.words}.intersection(STARTING)
    if line.ambiguous and starting:
        if starting == {"exec"} and _is_empty(settings.run_dir):
            return list(line.words)  # whatever container that is, it is none of ours
        # Who cannot tell which bundle or process that is about cannot say that it may start unenforced.
        raise ValueError(f"the command line is not understood: {line.ambiguous}")
    if line.verb in ("create", "run", "restore"):
        from scmm_oci.enforcer import shim_start

        return shim_start.words(settings, called, line, inherited)
    if line.verb == "exec":
        from scmm_oci.enforcer import shim_exec

        return shim_exec.words(settings, line, inherited)
    return list(line.words)


def _is_empty(directory: str) -> bool:
    """Whether there is nothing in a directory, or no directory."""
    try:
        return not os.listdir(directory)
    except FileNotFoundError:
        return True


def _told(settings: Settings, runtime: str, line: CommandLine) -> int:
    """`state` and `list`: what the runtime prints, with each private bundle as the one that the caller made."""
    from scmm_oci.enforcer.places import Places

    try:
        bundles = Places(settings.run_dir).bundles()
    except OSError as error:
        telling.note(settings.log_file, f"{line.verb}: {text_of(error)}", now=time.time())
        bundles = {}
    if not bundles:
        passing.become(runtime, line.words)
    printed, code = passing.output(runtime, line.words)
    view = memoryview(passing.with_original_bundles(printed, bundles))
    while view:
        view = view[os.write(1, view) :]
    return code


def _refuse(line: CommandLine, message: str) -> int:
    telling.error(message, log=line.log, log_format=line.log_format, now=time.time())
    return 1
