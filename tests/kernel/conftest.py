"""What tests of compiled policies and of the launcher share: a place for files, and ports that something listens on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import enforce
import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that others can get to, as programs that run as another user must."""
    with enforce.place() as directory:
        yield directory


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    """Two on loopback, which do not wait in accept."""
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    for one in found:
        one.setblocking(False)
    yield found
    for one in found:
        one.close()
