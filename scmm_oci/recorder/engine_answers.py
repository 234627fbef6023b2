"""What Docker's and podman's clients say when they are asked: runtimes, where hooks are looked for, containers.

They are asked with the global options of the command that is to be run, so that it is the same engine that answers.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from scmm_oci.errors import Failure, printable, short

# For a question, and for a container that is made or removed on a busy machine.
_PATIENCE_S = 60.0
_MOST_MESSAGE = 300  # characters
# What Docker's command says behind the daemon's words: how it is used, and that what was to happen has not.
_EMPTY_WORDS = ("See '", "Run '", "Error: failed to start containers", 'time="')
# pflag's help for an option that is a list of strings: `--hooks-dir strings   TEXT (default [A,B])`.
_HOOKS_DIR = re.compile(r"^ +--hooks-dir strings?\b.*?(?:\(default \[([^\]\n]*)\]\))?$", re.MULTILINE)


@dataclass(frozen=True)
class Runtimes:
    """What Docker can start containers with: names → programs ("" where there is none), and the default's name."""

    paths: dict[str, str]
    default: str


def docker_runtimes(client: Sequence[str]) -> Runtimes:
    """The runtimes of the daemon that `client` talks to. Raises Failure where it does not answer."""
    said = asked([*client, "info", "--format", '{"runtimes":{{json .Runtimes}},"default":{{json .DefaultRuntime}}}'])
    try:
        found = json.loads(said)
        paths = {str(name): str(one.get("path") or "") for name, one in (found["runtimes"] or {}).items()}
        return Runtimes(paths, str(found["default"]))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise Failure(f"docker info gives an answer that is not understood: {short(said)}") from None


def podman_runtime(client: Sequence[str]) -> str:
    """The path of the runtime that podman would start containers with. Raises Failure where it does not answer."""
    found = asked([*client, "info", "--format", "{{.Host.OCIRuntime.Path}}"]).strip()
    if not found.startswith("/"):
        raise Failure(f"podman info names no runtime: {short(found)}")
    return found


def podman_hooks_dirs(client: Sequence[str]) -> list[str]:
    """Where podman looks for hooks where the command line does not say. Raises Failure where that cannot be told.

    Its help has what containers.conf says, in all of its places, as the option's default (cmd/podman/root.go).
    """
    found = _HOOKS_DIR.search(asked([*client[:1], "--help"]))
    if found is None:
        raise Failure("podman does not tell where it looks for hooks", "scmm hooks install puts them in its own place")
    return [one for one in (found[1] or "").split(",") if one]


def labelled(client: Sequence[str], label: str) -> list[str]:
    """The ids of all containers with a label KEY=VALUE, running or not. Raises Failure."""
    return asked([*client, "ps", "--all", "--quiet", "--no-trunc", f"--filter=label={label}"]).split()


def asked(words: Sequence[str], *, named: bool = True) -> str:
    """What an engine's command prints.

    Args:
        named: in Failures, the program's name stands before what it says; else its words stand alone.

    Raises:
        Failure: it cannot be executed, fails, or takes too long.
    """
    name = words[0].rpartition("/")[2]
    try:
        # Signals of the terminal are for us: what is asked then, such as to stop a container, has to be done.
        done = subprocess.run(
            list(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{name} does not answer within {_PATIENCE_S:.0f} seconds") from None
    except OSError as error:
        raise Failure(f"{short(words[0])} cannot be executed: {error.strerror}") from None
    if done.returncode:
        said = last_words(done.stderr)
        if not said:
            raise Failure(f"{name} ended with status {done.returncode}")
        raise Failure(f"{name}: {said}" if named else said)
    return done.stdout.decode(errors="replace")


def last_words(text: bytes) -> str:
    """The last line that says what has happened, on one line and cut; "" if there is none."""
    lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
    told = [line for line in lines if line]
    told = [line for line in told if not line.startswith(_EMPTY_WORDS)] or told
    return printable(told[-1])[:_MOST_MESSAGE] if told else ""
