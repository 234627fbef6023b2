"""`scmm record` without a kernel: usage, users, categories, engines that do not answer, signals, what is said."""

from __future__ import annotations

import gc
import grp
import http.server
import json
import os
import pwd
import signal
import socketserver
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import need

from scmm_oci.cli import live, outcome
from scmm_oci.cli.main import record
from scmm_oci.errors import BadInput, Failure
from scmm_oci.kernel.signals import Signals
from scmm_oci.recorder import engines, filtering, target, users
from scmm_oci.recorder.engines import Engine
from scmm_oci.recorder.owned import Glance
from scmm_oci.recorder.users import User
from scmm_oci.tables import categories, syscalls
from scmm_oci.tables.categories import CHOICES, Category

# --- usage


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give one of a command, --pid, --container, --snapshot, --list, --recover."),
        (["-p", "1", "--container", "x", "--", "true"], "a command and --pid and --container do not go together"),
        (["--list", "--recover"], "--list and --recover do not go together"),
        (["--engine", "docker", "--", "true"], "--engine does not go with a command."),
        (["--user", "root", "--duration", "1", "--list"], "--user, --duration do not go with --list."),
        (["--snapshot", "x", "--no-follow"], "--no-follow does not go with --snapshot."),
        (["--snapshot", "x", "--live"], "--live does not go with --snapshot."),
        (["--recover", "--files"], "a category does not go with --recover."),
        (["--all", "--files", "--", "true"], "--all goes without other categories."),
        (["-q", "--live", "--", "true"], "--live and --quiet do not go together."),
        (["--duration", "0", "--", "true"], "'0' is not a number of seconds above 0."),
        (["--duration", "nan", "--", "true"], "'nan' is not a number of seconds above 0."),
        (["--duration", "inf", "--", "true"], "'inf' is not a number of seconds above 0."),
        (["--duration", "1m", "--", "true"], "'1m' is not a number of seconds above 0."),
        (["-p", "0"], "'0' is not a process id."),
        (["-p", "99999999999999999999"], "'99999999999999999999' is not a process id."),
        (["-p", "nginx"], "'nginx' is not a process id."),
        (["--engine", "lxc", "--container", "x"], "'lxc' is not one of 'docker', 'podman'"),
        (["--file", "--", "true"], "No such option"),
    ],
)
def test_usage(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert record(words) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_help_names_every_option_and_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert record(["--help"]) == 0
    text = capsys.readouterr().out
    for option in (
        "-o,",
        "-p,",
        "--container",
        "--engine",
        "--user U[:G]",
        "-f, --follow",
        "--no-follow",
        "--snapshot",
    ):
        assert option in text
    for option in ("--files", "--network", "--process", "--memory", "--ipc", "--all", "--duration", "--list"):
        assert option in text
    assert "scmm-record -o nginx.scmm-cap -- nginx" in text and "INTEGER RANGE" not in text


def test_without_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for words in (["--list"], ["--recover"], ["--snapshot", "x"], ["-p", "1"], ["--", "true"]):
        assert record(words) == 1
        assert capsys.readouterr().err == "error: recording needs root (sudo scmm-record …)\n"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/web.scmm-cap", "web"),
        ("web", "web"),
        (".hidden.scmm-cap", "hidden"),
        ("-x y\x1b.scmm-cap", "x_y_"),
        ("ü.scmm-cap", "_"),
        (".scmm-cap", "capture"),
        ("x" * 300, "x" * 128),
    ],
)
def test_capture_is_called_as_its_file(path: str, name: str) -> None:
    assert target.capture_name(path) == name


# --- users

NOBODY = pwd.getpwnam("nobody")


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("nobody", User(NOBODY.pw_uid, NOBODY.pw_gid, "nobody")),
        (str(NOBODY.pw_uid), User(NOBODY.pw_uid, NOBODY.pw_gid, "nobody")),
        ("nobody:root", User(NOBODY.pw_uid, 0, "nobody")),
        ("root:4711", User(0, 4711, "root")),
        ("47110:47111", User(47110, 47111, None)),
        ("47110:root", User(47110, 0, None)),
    ],
)
def test_users(text: str, user: User) -> None:
    assert users.parse_user(text) == user


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["there is no user ''"]),
        (":", ["there is no user ''", "there is no group ''"]),
        ("nobodyy:no", ["there is no user 'nobodyy'", "there is no group 'no'"]),
        ("47110", ["there is no user '47110'"]),
        ("47110:", ["there is no group ''"]),
        ("-1:0", ["there is no user '-1'"]),
        ("4294967295:0", ["there is no user '4294967295'"]),
        ("root:4294967295", ["there is no group '4294967295'"]),
        ("99999999999999999999:0", ["there is no user '99999999999999999999'"]),
        ("root:99999999999", ["there is no group '99999999999'"]),
        ("٣:0", ["there is no user '٣'"]),
        ("a\x1b:0", ["there is no user 'a\\x1b'"]),
        ("root:root:x", ["there is no group 'root:x'"]),
    ],
)
def test_users_that_are_none(text: str, problems: list[str]) -> None:
    with pytest.raises(BadInput) as raised:
        users.parse_user(text)
    assert [each.message for each in raised.value.problems] == problems


def test_number_without_an_account_needs_a_group() -> None:
    with pytest.raises(BadInput, match="give a group too: USER:GROUP"):
        users.parse_user("47110")


@pytest.mark.parametrize(
    ("environ", "user"),
    [
        ({}, None),
        ({"SUDO_UID": "65534"}, None),
        ({"SUDO_UID": "65534", "SUDO_GID": "4711"}, User(65534, 4711, "nobody")),
        ({"SUDO_UID": "47110", "SUDO_GID": "0"}, User(47110, 0, None)),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, None),
        ({"SUDO_UID": "-5", "SUDO_GID": "0"}, None),
        ({"SUDO_UID": "4294967295", "SUDO_GID": "0"}, None),
        ({"SUDO_UID": "x", "SUDO_GID": "0"}, None),
    ],
)
def test_who_called_sudo(environ: dict[str, str], user: User | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert users.invoking_user(environ) == user
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert users.invoking_user(environ) is None, "anyone may set these variables"


def test_environment_tells_of_the_user_where_it_told_of_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    root = pwd.getpwuid(0)
    before = {"HOME": root.pw_dir, "USER": "root", "LOGNAME": "someone", "PATH": "/p"}
    nobody = User(NOBODY.pw_uid, NOBODY.pw_gid, "nobody")
    assert users.environment_of(nobody, before) == {
        "HOME": NOBODY.pw_dir,
        "USER": "nobody",
        "LOGNAME": "someone",
        "PATH": "/p",
    }
    assert users.environment_of(User(47110, 1, None), before) == {"HOME": "/", "LOGNAME": "someone", "PATH": "/p"}
    assert users.environment_of(nobody, {"PATH": "/p"}) == {"PATH": "/p"}
    assert grp.getgrgid(0).gr_name == "root"


# --- categories


def test_every_call_of_every_architecture_has_one_category() -> None:
    assert categories.missing_names() == set(), "calls that are in no category: put them into one"
    assert categories.unknown_names() == set(), "mistyped, or dropped by the tables"
    words = Counter(word for names in categories._NAMES.values() for word in names.split())
    assert [word for word, count in words.items() if count > 1] == []
    for arch in syscalls.ARCHES:
        assert {categories.category_of(name) for name in syscalls.numbers(arch)} == set(Category)
    assert categories.category_of("nosuch") == categories.category_of(None) == Category.OTHER


def test_table_would_miss_a_new_call_and_find_a_mistyped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = syscalls.all_names()
    monkeypatch.setattr(syscalls, "all_names", lambda: names - {"openat"} | {"brandnew"})
    assert categories.missing_names() == {"brandnew"}
    assert categories.unknown_names() == {"openat"}


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("openat", "files"), ("io_uring_enter", "files"), ("ioctl", "files"), ("connect", "network"),
        ("socketcall", "network"), ("execve", "process"), ("seccomp", "process"), ("mmap2", "memory"),
        ("memfd_create", "memory"), ("futex", "ipc"), ("pipe2", "ipc"), ("shmat", "ipc"), ("nanosleep", "time"),
        ("rt_sigreturn", "signal"), ("epoll_wait", "other"), ("getrandom", "other"), ("uname", "other"),
    ],
)  # fmt: skip
def test_categories_of_calls(name: str, category: str) -> None:
    assert categories.category_of(name) == category


def call(name: str) -> dict[str, Any]:
    return {"name": name, "arch": "x86_64", "nr": 1, "entered": 3}


DOCUMENT: dict[str, Any] = {
    "complete": True,
    "losses": [],
    "notes": [],
    "name": "x",
    "sessions": [
        {"phases": {"setup": [call("bind")], "runtime": [], "app": [call("openat"), call("bind"), call("uname")]}},
        {"phases": {"setup": [], "runtime": [], "app": [call("mmap"), call("execve"), call("pipe")]}},
    ],
    "arguments": [call("socket"), call("openat")],
    "files": [
        {"path": f"/{each}", "operation": each} for each in ("open", "execute", "loader", "script", "bind", "connect")
    ],
    "sockets": [{"port": 80}],
    "programs": [{"path": "/p"}],
    "order": [{"edges": []}],
}


def test_categories_leave_the_rest_out_and_say_so() -> None:
    assert filtering.only(DOCUMENT, CHOICES) is DOCUMENT
    assert filtering.only(DOCUMENT, []) is DOCUMENT
    found = filtering.only(DOCUMENT, [Category.FILES])
    assert [[each["name"] for each in one["phases"]["app"]] for one in found["sessions"]] == [["openat", "uname"], []]
    assert found["sessions"][0]["phases"]["setup"] == []
    assert [each["path"] for each in found["files"]] == ["/open"]
    assert (found["sockets"], found["order"], found["complete"]) == ([], [], False)
    assert [each["name"] for each in found["arguments"]] == ["openat"]
    assert found["losses"] == [
        {"kind": "filtered", "count": 1, "detail": "only calls of some categories were asked for: files"}
    ]
    found = filtering.only(DOCUMENT, [Category.NETWORK, Category.PROCESS])
    assert [each["path"] for each in found["files"]] == ["/execute", "/loader", "/script", "/bind", "/connect"]
    assert found["sockets"] == DOCUMENT["sockets"]
    assert found["losses"][0]["detail"].endswith(": network, process")
    assert DOCUMENT["complete"] and DOCUMENT["losses"] == [], "the original was changed"


# --- engines


class _Answers(http.server.BaseHTTPRequestHandler):
    """The paths of Docker's API that are used, with the answers of `server.answers`."""

    def do_GET(self) -> None:
        path = self.path.removeprefix("/v1.41").partition("?")[0]
        status, body = self.server.answers.get(path, (404, {"message": f"No such container: {path}"}))  # type: ignore[attr-defined]
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def address_string(self) -> str:
        return "test"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[int, object]]]:
    """A Docker that answers what the test puts in; no podman."""
    path = tmp_path / "docker.sock"
    answers: dict[str, tuple[int, object]] = {
        "/version": (200, {"ApiVersion": "1.41"}),
        "/containers/json": (200, []),
    }
    with socketserver.UnixStreamServer(str(path), _Answers) as server:
        server.answers = answers  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        (tmp_path / "bin").mkdir()
        yield answers
        server.shutdown()
        thread.join()


def inspected(**changes: object) -> dict[str, object]:
    return {
        "Id": "ab" * 32,
        "Name": "/web",
        "Path": "nginx",
        "Args": ["-g", "daemon off;"],
        "State": {"Pid": 4711, "Running": True},
        "HostConfig": {"Runtime": "runc"},
        "OCIRuntime": "/usr/bin/crun",
        **changes,
    }


def podman(tmp_path: Path, text: str) -> None:
    """A podman that is this shell script."""
    path = tmp_path / "bin/podman"
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")
    path.chmod(0o755)
    for each in (path.parent, tmp_path, *tmp_path.parents):
        if Path(tempfile.gettempdir()).resolve() in each.parents:
            each.chmod(0o755)


def test_container_of_docker(docker: dict[str, tuple[int, object]]) -> None:
    docker["/containers/web/json"] = (200, inspected())
    found = engines.find_container("web")
    assert found == engines.Container(
        Engine.DOCKER, id="ab" * 32, name="web", pid=4711, args=("nginx", "-g", "daemon off;"), runtime="runc"
    )
    docker["/containers/web/json"] = (200, inspected(State={"Pid": 0, "Running": False}))
    with pytest.raises(Failure, match=r"^the container 'web' does not run \(start it"):
        engines.find_container("web")


def test_container_that_nobody_has(docker: dict[str, tuple[int, object]]) -> None:
    docker["/containers/json"] = (200, [{"Id": "cd" * 32}])
    docker[f"/containers/{'cd' * 32}/json"] = (200, inspected(Id="cd" * 32, Name="/frontend"))
    with pytest.raises(Failure) as raised:
        engines.find_container("frontent")
    assert str(raised.value) == (
        "no engine has a container 'frontent' (did you mean 'frontend'?; podman: is not installed)"
    )
    with pytest.raises(Failure) as raised:
        engines.find_container("x", engine=Engine.DOCKER)
    assert str(raised.value) == "docker has no container 'x' (running: frontend)"
    with pytest.raises(Failure, match=r"^'a;b' is no container's name or id$"):
        engines.find_container("a;b")


def test_engine_that_refuses(docker: dict[str, tuple[int, object]]) -> None:
    docker["/containers/ab/json"] = (500, {"message": "multiple IDs found with provided prefix: ab\x1b"})
    with pytest.raises(Failure) as raised:
        engines.find_container("ab", engine=Engine.DOCKER)
    assert str(raised.value) == (
        "docker has no container 'ab' (docker: multiple IDs found with provided prefix: ab\\\\x1b)"
    ).replace("\\\\", "\\")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK leaves its socket to chance
def test_engines_that_do_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for host, why in (
        (f"unix://{tmp_path}/nosuch", "does not answer (No such file or directory)"),
        ("tcp://127.0.0.1:1", "does not answer (Connection refused)"),
    ):
        monkeypatch.setenv("DOCKER_HOST", host)
        with pytest.raises(Failure) as raised:
            engines.find_container("web")
        assert str(raised.value) == f"no engine has a container 'web' (docker: {why}; podman: is not installed)"
    for script, why in (
        ("echo Error: no storage >&2; exit 125", "Error: no storage"),
        ("echo '{'", "Expecting property name enclosed in double quotes: line 2 column 1 (char 2)"),
        ("exit 1", "does not answer"),
        ("echo '[7]'", "gives an answer that is not understood"),
    ):
        podman(tmp_path, script)
        with pytest.raises(Failure) as raised:
            engines.find_container("web", engine=Engine.PODMAN)
        assert str(raised.value) == f"podman has no container 'web' (podman: {why})"
    gc.collect()


def test_podman_of_sudos_user_is_asked_too(docker: dict[str, tuple[int, object]], tmp_path: Path) -> None:
    """A rootless container is known to its user's podman only."""
    if os.geteuid():
        need("KERNEL", "only root can ask as another user")
    answer = json.dumps([inspected(Name="mine")])
    podman(
        tmp_path, f'[ "$(id -u):$(id -g):$HOME" = "65534:4711:{NOBODY.pw_dir}" ] || exit 1\ncat <<END\n{answer}\nEND'
    )
    user = User(65534, 4711, "nobody")
    found = engines.find_container("mine", user=user)
    assert (found.engine, found.name, found.pid, found.runtime) == (Engine.PODMAN, "mine", 4711, "crun")
    with pytest.raises(Failure):
        engines.find_container("mine")


def test_both_engines_have_one(docker: dict[str, tuple[int, object]], tmp_path: Path) -> None:
    docker["/containers/web/json"] = (200, inspected())
    podman(tmp_path, f"cat <<END\n{json.dumps([inspected(Id='cd' * 32)])}\nEND")
    with pytest.raises(Failure) as raised:
        engines.find_container("web")
    assert str(raised.value) == (
        "docker (abababababab) and podman (cdcdcdcdcdcd) both have a container 'web' "
        "(choose with --engine, or give an id)"
    )
    assert engines.find_container("web", engine=Engine.PODMAN).id == "cd" * 32
    docker["/containers/web/json"] = (200, inspected(State={"Running": False, "Pid": 0}))
    assert engines.find_container("web").id == "cd" * 32


# --- signals


def test_signals_wait_to_be_read_and_leave_no_trace() -> None:
    heard: list[int] = []
    # To this thread: one that blocks nothing may stand beside it, and would take what is sent to the process.
    here = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1, signal.SIGUSR2])
    ignored = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        with Signals([signal.SIGUSR1, signal.SIGUSR2]) as signals:
            assert signals.read() == []
            signal.pthread_kill(here, signal.SIGUSR1)
            signal.pthread_kill(here, signal.SIGUSR2)
            [one] = signals.read()
            assert (one.number, one.by_kernel, one.sender) == (signal.SIGUSR1, False, os.getpid())
            assert heard == []
            signals.let(signal.SIGUSR1)
            assert heard == [signal.SIGUSR1]
            signal.pthread_kill(here, signal.SIGUSR1)  # comes too late to be read
        assert heard == [signal.SIGUSR1]
        signal.pthread_kill(here, signal.SIGUSR1)
        assert heard == [signal.SIGUSR1] * 2, "still blocked"
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGUSR1, before)
        signal.signal(signal.SIGUSR2, ignored)


# --- what is said


def test_summary() -> None:
    assert outcome.summary(DOCUMENT) == (
        "6 system calls (18 made), 6 files, 1 address, 1 program; complete".replace("6 system calls", "1 system call")
    )
    more = {
        **DOCUMENT,
        "losses": [{"kind": "attached", "count": 1}, {"kind": "lost-files", "count": 7}],
        "notes": [{"kind": "still-running", "count": 2}, {"kind": "bad-numbers", "count": 1}],
        "files": [],
    }
    assert outcome.summary(more).endswith(
        ", 0 files, 1 address, 1 program; incomplete: attached, lost-files ×7; 2 threads of it still running"
    )


def test_summary_of_a_snapshot() -> None:
    running = [{"kind": "still-running", "count": 2}]
    assert outcome.summary({**DOCUMENT, "notes": running}).endswith("; complete; 2 threads of it still running")
    snapshot = {**DOCUMENT, "notes": running, "losses": [{"kind": "snapshot", "count": 1}]}
    assert outcome.summary(snapshot).endswith("; incomplete: snapshot")


class _Running:
    """A recording in which `glances` are to be seen one after the other."""

    def __init__(self, *glances: Glance, pause_s: float = 0) -> None:
        self._glances, self._pause_s = list(glances), pause_s

    def glance(self) -> Glance:
        time.sleep(self._pause_s)
        return self._glances.pop(0) if len(self._glances) > 1 else self._glances[0]


def view(running: object) -> live._Lines:
    return live._Lines(running)  # type: ignore[arg-type]


def test_lines_tell_what_is_new_once(capsys: pytest.CaptureFixture[str]) -> None:
    first = [("call", "openat"), ("file", "/a\x1b[2J"), ("call", "openat")]
    many = [*first, *(("file", f"/{number}") for number in range(10))]
    lines = view(
        _Running(Glance(first, 3, {}), Glance(many, 20, {"lost-files": 2}), Glance(many, 30, {"lost-files": 2}))
    )
    lines.refresh()
    assert capsys.readouterr().err == "0:00 + call     openat\n0:00 + file     /a\\x1b[2J\n"
    lines.refresh()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "0:00 + file     /0" and len(said) == 10
    assert said[8:] == [
        "0:00 + 2 more: 1 system call, 11 files, 0 addresses, 0 programs",
        "0:00 lost: lost-files ×2",
    ]
    lines.refresh()
    assert capsys.readouterr().err == ""


def test_names_that_are_too_long_show_their_end(capsys: pytest.CaptureFixture[str]) -> None:
    view(_Running(Glance([("file", "/" + "x" * 5000 + "\n/end")], 1, {}))).refresh()
    [line] = capsys.readouterr().err.splitlines()
    assert len(line) <= 410 and line.startswith("0:00 + file     …xxx") and line.endswith("x\\n/end")


def test_view_of_much_looks_seldom() -> None:
    """A hundred thousand names are looked at in good time; looking takes a tenth of the time at the most."""
    items = [("file", f"/{number}") for number in range(100_000)]
    lines = view(_Running(Glance(items, 1, {}), pause_s=0.2))
    assert lines.interval_s == 0.5
    began = time.monotonic()
    lines.refresh()
    assert lines.interval_s is not None and lines.interval_s >= 2.0
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("terminal", "wanted", "of_command", "form"),
    [
        (True, None, False, "picture"), (True, None, True, "none"), (False, None, False, "none"),
        (True, True, False, "picture"), (True, True, True, "lines"), (False, True, False, "lines"),
        (True, False, False, "none"), (False, None, True, "none"), (False, True, True, "lines"),
    ],
)  # fmt: skip
def test_form_of_the_view(
    terminal: bool, wanted: bool | None, of_command: bool, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream:
        def isatty(self) -> bool:
            return terminal

    monkeypatch.setattr("sys.stderr", Stream())
    assert live.form_of(wanted=wanted, command=of_command) == form
    monkeypatch.setattr("sys.stderr", None)
    assert live.form_of(wanted=None, command=of_command) == "none"


def test_report_to_a_terminal_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(line: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(outcome, "say", gone)
    outcome.report(DOCUMENT, "x", status=None, as_json=False, quiet=False)


def test_report_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    outcome.report(DOCUMENT, "x\x1b", status=3, as_json=True, quiet=True)
    out, err = capsys.readouterr()
    found: Mapping[str, object] = json.loads(out)
    assert err == "" and "\x1b" not in out
    assert (found["exit_status"], found["files"], found["complete"], found["path"]) == (3, 6, True, "x\x1b")
