"""The metrics by HTTP, for Prometheus: at an address of this host only, or at a UNIX socket.

There is one thing to GET, and no name or password, so nobody else may reach it: a proxy that asks for one can stand
before it.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Protocol

from scmm_oci.enforcer.monitor.exchanges import Exchanges
from scmm_oci.enforcer.monitor.sockets import Listening
from scmm_oci.errors import BadInput, Failure, Problem, short
from scmm_oci.files import reason

_MOST_HEAD = 8 << 10  # bytes
_UNIX = "unix:"


class Readable(Protocol):
    """What has values."""

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All of them in a format that a reader's Accept header asks for, and that format's content type."""


def parse(text: str) -> tuple[str, int] | str:
    """Where ``--metrics`` says: (IP address, port) or the path of a UNIX socket.

    Raises:
        BadInput: it is ``HOST:PORT`` of this host alone (127.0.0.1, [::1] and localhost are) nor ``unix:/PATH``.
    """
    known = "127.0.0.1:9090, [::1]:9090 or unix:/PATH"
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if not path.startswith("/"):
            raise BadInput([Problem("--metrics", f"{short(path)} is no absolute path", known)])
        return path
    host, colon, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    name = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        address = None
    if not colon or address is None or not 0 <= number <= 0xFFFF or (address.version == 6) != host.startswith("["):
        raise BadInput([Problem("--metrics", f"{short(text)} is no address and port", f"such as {known}")])
    if not address.is_loopback:
        hint = f"known: {known}; have a proxy with a password stand before it"
        raise BadInput([Problem("--metrics", f"{name} can be reached from other hosts", hint)])
    return str(address), number


class Scraping:
    """Answers at one place, on the event loop, until it is closed."""

    def __init__(self, metrics: Readable) -> None:
        self._metrics = metrics
        self._listening: Listening | socket.socket | None = None
        self._exchanges: Exchanges | None = None

    async def start(self, place: tuple[str, int] | str) -> tuple[str, int] | str:
        """Take connections from now on; where, as port 0 becomes one that the kernel chooses.

        Raises:
            Failure: nothing can listen there.
            BadInput: the same, of a path.
        """
        if isinstance(place, str):
            self._listening = Listening(place)
            listening = self._listening.socket
        else:
            listening = self._listening = _listen(*place)
            place = place[0], listening.getsockname()[1]
        self._exchanges = Exchanges(listening, self._answer, end=b"\r\n\r\n", most=_MOST_HEAD)
        return place

    async def close(self) -> None:
        """Answer no more."""
        if self._exchanges is not None:
            await self._exchanges.close()
        if self._listening is not None:
            self._listening.close()

    def _answer(self, head: bytes) -> bytes:
        first, *rest = head.decode("latin-1").split("\r\n")
        method, _, asked = first.partition(" ")
        path = asked.partition(" ")[0].partition("?")[0]
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", "text/plain", b"only GET\n", "Allow: GET, HEAD\r\n")
        if path != "/metrics":
            return _response("404 Not Found", "text/plain", b"only /metrics\n")
        text, content_type = self._metrics.text(headers.get("accept", ""))
        return _response("200 OK", content_type, text, body=method == "GET")


def _listen(host: str, port: int) -> socket.socket:
    try:
        made = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Failure(f"metrics cannot be given at {host}:{port}: {reason(error)}", "choose another port") from error
    made.setblocking(False)
    return made


def _response(status: str, content_type: str, text: bytes, more: str = "", *, body: bool = True) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(text)}\r\n{more}"
    return f"{head}Connection: close\r\n\r\n".encode("latin-1") + (text if body else b"")
