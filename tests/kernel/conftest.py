"""What tests of compiled policies, of the launcher and of calls on behalf share."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import enforce
import pytest
from behalf_served import Served, serving
from behalf_trees import trees_in
from support import need


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


@pytest.fixture(scope="module")
def becoming() -> None:
    """This process can become any other."""
    need("KERNEL", "becoming other users needs root" if os.geteuid() else None)


@pytest.fixture(scope="module")
def served(becoming: None) -> Iterator[Served]:
    """What makes calls on behalf, one of it for a module."""
    with serving() as made:
        yield made


@pytest.fixture
def trees(place: Path) -> tuple[Path, Path]:
    """Two directories that are alike."""
    return trees_in(place)
