"""Which descriptors the launcher's program has, also where the kernel has no close_range(2); and --status-fd."""

import os
import resource
import subprocess
import sys

import pytest
from support import ROOT

from hatch_build import compile_launcher
from scmm_oci.compiled import polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.enforcer.overrides import Overrides, applied, nothing
from scmm_oci.tables.arch import from_machine

MACHINE = os.uname().machine
LIST = (
    "import os; print(*sorted(int(fd) for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}')))"
)
FAR = 70_000


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    target = tmp_path_factory.mktemp("launcher") / "scmm-enforce"
    compile_launcher(ROOT, MACHINE, target)
    return target


@pytest.fixture(scope="module")
def refuses(tmp_path_factory):
    """A policy's file in which calls are not there."""

    def made(*names):
        given = Overrides(errno="ENOSYS", rules=tuple(("--deny", name) for name in names))
        path = tmp_path_factory.mktemp("policy") / "some.scmm-pol"
        path.write_bytes(polfile.write(policy_file(applied(nothing(from_machine(MACHINE)), given))[0]))
        path.chmod(0o644)
        return path

    return made


@pytest.fixture
def far():
    """A descriptor with a high number, as high as the machine lets us have it, which programs inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else FAR + 1
    number = min(FAR, most - 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number + 1), hard))
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        os.dup2(fd, number)
        yield number
        os.close(number)
    finally:
        os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def left(far, *command):
    """The descriptors that Python has at the end of a command, but for its own."""
    words = [*command, sys.executable, "-c", LIST]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True, pass_fds=[far])
    return [int(word) for word in done.stdout.split()]


def test_all_are_closed_without_close_range_too(launcher, refuses, far):
    inner = [launcher, "-p", refuses("getsid"), "--"]
    without = [launcher, "-p", refuses("close_range"), f"--preserve-fds={far}", "--"]
    assert left(far, *inner) == [0, 1, 2]
    assert left(far, *without, *inner) == [0, 1, 2]
    # Nor is there a /proc, as in an image of one program: then all numbers are tried.
    blind = [launcher, "-p", refuses("close_range", "fstatfs"), f"--preserve-fds={far}", "--"]
    assert left(far, *blind, *inner) == [0, 1, 2]
    # Controls: it comes through without the inner one, and where it is to.
    assert left(far, *without) == left(far) == [0, 1, 2, far]
    assert left(far, *without, launcher, "-p", inner[2], f"--preserve-fds={far}", "--") == [0, 1, 2, far]


def test_a_descriptor_for_the_status_that_is_not_open_is_refused(launcher, refuses):
    """It would come to be one of the launcher's own files, and the caller would wait for nothing."""
    words = [launcher, "-p", refuses("getsid"), "--status-fd", "3", "--", "echo", "it runs"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == "scmm-enforce: the descriptor of --status-fd is not open\n"
    reading, writing = os.pipe()
    words[words.index("3")] = str(writing)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, pass_fds=[writing])
    os.close(writing)
    with open(reading) as pipe:
        assert '"enforced":"fully"' in pipe.read()
    assert done.stdout == "it runs\n"
