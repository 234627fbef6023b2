"""Who makes a call that waits: against the real kernel's listener."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from listened import listened

from scmm_oci.enforcer.monitor import who
from scmm_oci.kernel import notify

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


def test_a_thread_is_told_with_its_group_program_and_name() -> None:
    with listened(["getppid"], "import threading; t = threading.Thread(target=os.getppid); t.start(); t.join()") as it:
        call = it.next()
        found = who.process(it.fd, call)
        assert found is not None
        assert (found.pid, found.tid) == (it.process.pid, call.tid)
        assert found.tid != found.pid
        assert found.uid == os.geteuid()
        assert found.executable == os.path.realpath(sys.executable)
        assert found.comm == Path(f"/proc/{call.tid}/comm").read_text().rstrip("\n")
        assert notify.let_go_on(it.fd, call.id)
        it.output()
        assert it.process.returncode == 0


def test_a_name_that_it_gives_itself_makes_no_line_of_its_own() -> None:
    name = r"libc.prctl(15, b'x\nTgid:\t1\nUi', 0, 0, 0); os.getppid()"  # PR_SET_NAME
    with listened(["getppid"], name) as it:
        found = who.process(it.fd, it.next())
        assert found is not None
        assert found.pid == it.process.pid
        assert found.comm == r"x\nTgid:\t1\nUi".replace(r"\t", "\t")


def test_who_is_gone_is_nobody_and_not_another() -> None:
    with listened(["getppid"], "os.getppid()") as it:
        call = it.next()
        assert who.process(it.fd, call) is not None
        os.kill(it.process.pid, signal.SIGKILL)
        it.process.wait(60)
        assert who.process(it.fd, call) is None
        # Of a thread that is there, but whose call does not wait, nothing counts either.
        assert who.process(it.fd, call._replace(tid=os.getpid())) is None
        assert not who.kill(it.fd, call._replace(tid=os.getpid()))
        assert not who.kill(it.fd, call)


def test_who_cannot_be_seen_is_nobody() -> None:
    with listened(["getppid"], "os.getppid()") as it:
        call = it.next()
        assert who.process(it.fd, call._replace(tid=0)) is None
        assert not who.kill(it.fd, call._replace(tid=0))
        assert who.process(it.fd, call) is not None


def test_kill_ends_the_process_and_not_only_its_thread() -> None:
    body = "import threading; t = threading.Thread(target=os.getppid); t.start(); t.join(); print('there still')"
    with listened(["getppid"], body) as it:
        call = it.next()
        assert call.tid != it.process.pid
        assert who.kill(it.fd, call)
        assert it.output() == ""
        assert it.process.returncode == -signal.SIGKILL
    with listened(["getppid"], body) as it:
        assert notify.let_go_on(it.fd, it.next().id)
        assert it.output() == "there still\n"


@needs_root
def test_a_change_of_user_and_program_is_seen_at_the_next_call() -> None:
    # The shell asks for its parent when it begins.
    body = "os.getppid(); os.seteuid(4711); os.getppid(); os.execv('/bin/sh', ['sh', '-c', ':'])"
    python, shell = os.path.realpath(sys.executable), os.path.realpath("/bin/sh")
    with listened(["getppid"], body) as it:
        for uid, executable in ((0, python), (4711, python), (4711, shell)):
            call = it.next()
            found = who.process(it.fd, call)
            assert found is not None
            assert (found.uid, found.pid, found.executable) == (uid, it.process.pid, executable)
            assert notify.let_go_on(it.fd, call.id)


def test_descriptors_that_are_kept_are_bounded_and_of_the_thread_itself() -> None:
    before = len(os.listdir("/proc/self/fd"))
    threads = "import threading\nfor _ in range(150):\n    t = threading.Thread(target=os.getppid); t.start(); t.join()"
    with listened(["getppid"], threads) as it:
        tids = set()
        for _ in range(150):
            call = it.next()
            found = who.process(it.fd, call)
            assert found is not None
            assert (found.pid, found.tid) == (it.process.pid, call.tid)
            tids.add(call.tid)
            assert notify.let_go_on(it.fd, call.id)
        assert len(tids) > 64  # more than are kept
        it.output()
    assert len(os.listdir("/proc/self/fd")) <= before + 64
