"""A signal that comes while the kernel takes an answer: it is given once more, and nobody is taken for gone."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable

import pytest

from scmm_oci.kernel import notify

ANSWERS: list[Callable[[], bool]] = [
    lambda: notify.is_waiting(3, 7),
    lambda: notify.let_go_on(3, 7),
    lambda: notify.refuse(3, 7, errno.EPERM),
    lambda: notify.give(3, 7, 1),
    lambda: notify.hand_over(3, 7, 4, close_on_exec=True),
]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(("becomes", "waits"), [(0, True), (errno.ENOENT, False)])
def test_interrupted_twice(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[], bool], becomes: int, waits: bool
) -> None:
    asked: list[tuple[int, int, bytes]] = []

    def ioctl(fd: int, request: int, argument: bytes) -> int:
        asked.append((fd, request, bytes(argument)))
        number = errno.EINTR if len(asked) < 3 else becomes
        if number:
            raise OSError(number, os.strerror(number))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    assert answer() is waits
    assert len(asked) == 3 and len(set(asked)) == 1
