"""Whether a service answers, asked from the host: an HTTP request, a connection, or a command of the user's."""

from __future__ import annotations

import http.client
import os
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from scmm_oci.errors import BadInput, Problem, short

# Seconds for an answer. The probe is repeated while the program has time.
_PATIENCE = 2.0
# How long a connection has to last. docker-proxy takes each one, and closes it where nobody listens behind it.
_LASTS = 0.5
# RFC 9110: 2xx and 3xx; what is refused, or broken, is no answer.
_GOOD = range(200, 400)
# In the place of a container's name.
_NOBODY = "scmm-replay-none"
_HINT = "such as http://127.0.0.1:8080/, tcp://127.0.0.1:6379, or a command: 'redis-cli -p 6379 ping'"


@dataclass(frozen=True)
class Probe:
    """How a service is asked; `answers` takes the container's name and says whether it answers now."""

    word: str
    answers: Callable[[str], bool]


def parse(word: str) -> Probe:
    """What a user wrote.

    Raises:
        BadInput: it is no URL of a kind that can be asked, and no command that is here.
    """
    kind, colons, _ = word.partition("://")
    try:
        if colons and " " not in kind:
            return Probe(word, _of_url(word))
        words = shlex.split(word)
    except ValueError as error:
        raise BadInput([Problem("--probe", f"{short(word)}: {error}", _HINT)]) from None
    program = shutil.which(words[0]) if words else None
    if program is None:
        raise BadInput([Problem("--probe", f"{short(word)}: there is no such command", _HINT)])
    return Probe(word, lambda name: _command([program, *words[1:]], name))


def check(probe: Probe) -> None:
    """Make sure that it can fail: before there is a container, it does.

    Raises:
        BadInput: it answers.
    """
    if probe.answers(_NOBODY):
        what = f"{short(probe.word)} answers already, before there is a container"
        raise BadInput([Problem("--probe", what, "does something else listen there?")])


def _of_url(word: str) -> Callable[[str], bool]:
    """Raises ValueError."""
    parts = urlsplit(word)
    host, port = parts.hostname, parts.port
    if parts.scheme == "http" and host:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return lambda _: _http(host, port or http.client.HTTP_PORT, path)
    if parts.scheme == "tcp" and host and port:
        return lambda _: _tcp(host, port)
    raise ValueError("http://HOST[:PORT]/… or tcp://HOST:PORT expected")


def _http(host: str, port: int, path: str) -> bool:
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=_PATIENCE)) as connection:
            connection.connect()
            with _all_within(connection.sock, _PATIENCE):
                connection.request("GET", path)
                return connection.getresponse().status in _GOOD
    except (OSError, http.client.HTTPException):
        return False


@contextmanager
def _all_within(connection: socket.socket, seconds: float) -> Iterator[None]:
    """End a connection after a time: its own timeout is for each byte, and who sends few of them would hold us."""

    def end() -> None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _tcp(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), _PATIENCE) as connection:
            connection.settimeout(_LASTS)
            try:
                return connection.recv(1) != b""
            except TimeoutError:
                return True  # it waits for us to speak
    except OSError:
        return False


def _command(words: list[str], name: str) -> bool:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
            start_new_session=True,
            env={**os.environ, "SCMM_CONTAINER": name},
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
