"""What people do with containers, as functions whose results are the same whatever runtime is below the engine.

Each gives what was written, exit codes and what the engine tells, without what differs between any two containers.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shims import Streams
from terminal import Terminal

from rig.engine import Engine
from rig.process import Completed, find_program, wait_until

#: A process that ends by itself when it is asked to, and says so.
FOREVER = "while :; do sleep 0.1; done"
LOOP = f"trap 'echo ended; exit 9' TERM; trap 'echo told' USR1; echo begun; {FOREVER}"
#: In a terminal of the size that `Way.terminal` has.
_SIZED = "until [ \"$(stty size 2>/dev/null)\" = '33 101' ]; do sleep 0.1; done; tty; stty size; "
AT_TERMINAL = _SIZED + "read line; echo got $line; exit 6"
_WAIT_S = 60.0


@dataclass(frozen=True)
class Way:
    """One way to run containers: an engine, an image, and options that choose the runtime and what is asked of it."""

    engine: Engine
    image: str
    options: tuple[str, ...]
    shared: Path

    def run(self, *words: str, options: Sequence[str] = (), input: str | None = None) -> Any:
        """A container from its beginning to its end."""
        done = self.engine.run(
            self.image, *words, options=[*self.options, *options], input=input, check=False, timeout=_WAIT_S
        )
        return said(done)

    @contextmanager
    def started(self, *words: str, options: Sequence[str] = (), name: str = "") -> Iterator[str]:
        """The name of a container in the background that has written "begun"."""
        name = name or f"rig-{secrets.token_hex(4)}"
        self.engine.run_detached(self.image, *words, options=[*self.options, *options], name=name)
        try:
            wait_until(lambda: "begun" in self.engine.logs(name), deadline_s=_WAIT_S, what=f"{name}: begun")
            yield name
        finally:
            self.engine.rm(name)

    def __call__(self, *words: str, name: str = "", input: str | None = None) -> Any:
        """Any verb of the client."""
        return said(self.engine(*words, check=False, input=input), name)

    def exec(self, name: str, *words: str, options: Sequence[str] = (), input: str | None = None) -> Any:
        return said(self.engine.exec(name, *words, options=options, input=input, check=False), name)

    def init(self) -> list[str]:
        """Options for a first process that reaps; podman is told which, as its own may not be installed."""
        tini = [f"--init-path={find_program('docker-init')}"] if self.engine.kind == "podman" else []
        return ["--init", *tini]

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.engine.inspect(name)["State"]
        return found

    @contextmanager
    def terminal(self, *words: str) -> Iterator[Terminal]:
        command = [*self.engine.command(), *words]
        with Terminal(command, env=self.engine.environ(), cwd=self.shared, rows=33, columns=101) as terminal:
            yield terminal


def said(done: Completed, name: str = "") -> tuple[int, list[str], list[str]]:
    """Exit code, standard output and error, with ids and the name as words."""
    return done.returncode, plain(done.stdout, name), plain(done.stderr, name)


def plain(text: str, name: str = "") -> list[str]:
    """Lines without what is random in them."""
    text = re.sub(r"\b([0-9a-f]{64}|[0-9a-f]{12})\b", "ID", text.replace("\r", ""))
    text = re.sub(r'time="[^"]*"', "", text)
    text = re.sub(r"^Error: (scmm-)?(crun|runc): ", "Error: ", text, flags=re.M)  # podman names the runtime
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)", "TIME", text)
    return (text.replace(name, "NAME") if name else text).splitlines()


Scenario = Callable[[Way], object]
#: By name. SHORT are those of every test run.
SCENARIOS: dict[str, Scenario] = {}
SHORT: set[str] = set()


def scenario(*, short: bool = False) -> Callable[[Scenario], Scenario]:
    def keep(function: Scenario) -> Scenario:
        SCENARIOS[function.__name__] = function
        if short:
            SHORT.add(function.__name__)
        return function

    return keep


#: Options and a script; what it writes and its exit code are compared.
RUNS: dict[str, tuple[list[str], str]] = {
    "status": ([], "echo out; echo err >&2; exit 7"),
    "signalled": ([], "sh -c 'kill -SEGV $$'"),
    "environment": (["-eA=1", "-eB=two words", "--env=EMPTY=", "--hostname=here"], "env | sort; hostname"),
    "first-process": (
        ["--hostname=here"],
        "tr '\\0' ' ' </proc/1/cmdline; cat /proc/1/comm; readlink /proc/1/exe; tr '\\0' '\\n' </proc/1/environ | sort;"
        "cut -d' ' -f1,2,4-8 /proc/1/stat; ls -l /proc/self/fd | sed 's/.* -> //; s/[0-9][0-9]*//g'",
    ),
    "rights": (
        [],
        "id; umask; ulimit -a; grep -E 'Cap|Sig[BIC]|Groups|Uid|Gid|Shd|Cpus_allowed_list' /proc/self/status",
    ),
    "tree": ([], "ls -laR / 2>/dev/null | grep -c . >/dev/null; ls -a / /etc /run /tmp; cat /proc/self/oom_score_adj"),
    "user": (["-u65534:65534"], "id; grep Cap /proc/self/status; cat /etc/passwd; touch /x"),
    "named-user": (["-unobody", "--group-add=12"], "id; pwd"),
    "directory": (["-w/tmp"], "pwd; readlink /proc/1/cwd"),
    "new-directory": (["-w/made/there"], "pwd; ls -ld . | cut -c1-10"),
    "limits": (["--ulimit=nofile=123:456"], "ulimit -n; ulimit -Hn"),
    "readonly": (["--read-only"], "touch /x; touch /tmp/x; touch /dev/x; echo $?"),
    "tmpfs": (
        ["--tmpfs=/tmp", "--tmpfs=/run:size=64k"],
        "df -P /tmp /run | cut -d' ' -f1; touch /run/x; ls -a /run /tmp",
    ),
    "tmpfs-on-dev": (["--tmpfs=/dev"], "ls -a /dev | grep -v scmm | head -3; echo x >/dev/x; cat /dev/x"),
    "no-capabilities": (["--cap-drop=ALL"], "id; grep Cap /proc/self/status; touch /x; chown 1 /x; echo $?"),
    "no-capabilities-user": (["--cap-drop=ALL", "-u1000:1000"], "id; grep Cap /proc/self/status; cat /etc/passwd"),
    "more-capabilities": (["--cap-add=NET_ADMIN", "--cap-drop=CHOWN"], "grep Cap /proc/self/status; ip link show lo"),
    "privileged": (["--privileged"], "grep Cap /proc/self/status; ls -ld /dev/loop-control; echo $?"),
    "no-new-privileges": (["--security-opt=no-new-privileges"], "grep NoNewPrivs /proc/self/status; id"),
    "unconfined": (["--security-opt=seccomp=unconfined"], "unshare -U true; echo $?"),
    "host-pid": (["--pid=host"], "[ $$ != 1 ] && echo not the first; tr '\\0' ' ' </proc/self/cmdline"),
    "host-ipc": (["--ipc=host"], "ls -d /dev/shm /dev/mqueue; echo $?"),
    "private-ipc": (["--ipc=private", "--shm-size=1m"], "df -P /dev/shm | tail -1"),
    "host-uts": (["--uts=host"], "hostname >/dev/null; echo $?"),
    "host-cgroup": (["--cgroupns=host"], "cut -c1-4 /proc/self/cgroup | tail -1"),
    "device": (["--device=/dev/null:/dev/mine"], "ls -l /dev/mine | cut -c1-10; echo x >/dev/mine; echo $?"),
    "file-on-dev": (["-v=/dev/zero:/dev/mine"], "head -c2 /dev/mine | od -An -tx1"),
    "entrypoint": (["--entrypoint=/bin/echo"], "words"),
    "whole-dev": (["-v=/dev:/dev"], "test -c /dev/null && echo is there; id"),
    "whole-dev-readonly": (["-v=/dev:/dev", "--read-only"], "test -c /dev/null && echo is there; touch /x"),
    "combined": (
        [
            *("-eA=1", "--hostname=here", "-u65534:65534", "-w/tmp", "--read-only", "--tmpfs=/run", "--cap-drop=ALL"),
            "--device=/dev/null:/dev/mine",
        ],
        "echo err >&2; id; pwd; env | sort; grep -E 'Cap|Sig[BIC]|Groups' /proc/self/status; ulimit -n; touch /x;"
        "tr '\\0' ' ' </proc/1/cmdline; cat /proc/1/comm; ls /proc/self/fd | wc -l; ls /dev/mine; exit 7",
    ),
    "oom-score": (["--oom-score-adj=500"], "cat /proc/self/oom_score_adj"),
    "sysctl": (["--sysctl=net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward"),
    "hosts": (["--add-host=there:10.0.0.7"], "grep there /etc/hosts"),
    "mqueue": ([], "ls -ld /dev/mqueue /dev/shm /dev/pts /dev/fd /dev/core /dev/stdin; ls /dev/pts"),
    "much-output": ([], "seq 20000 | tail -c 60000"),
    "long-command": ([], ": " + "x" * 100000 + "; echo done"),
}
_SHORT_RUNS = ("combined",)


def _of(options: Sequence[str], script: str) -> Scenario:
    words = ["sh", "-c", script] if not any("--entrypoint" in each for each in options) else [script] * bool(script)
    return lambda way: way.run(*words, options=options)


for _name, (_options, _script) in RUNS.items():
    SCENARIOS[f"run-{_name}"] = _of(_options, _script)
SHORT |= {f"run-{name}" for name in _SHORT_RUNS}


@scenario()
def volumes(way: Way) -> object:
    """Of the host's, to write and to read only, in a directory of the test's own."""
    own = way.shared / secrets.token_hex(4)
    own.mkdir()
    (own / "here").write_text("text\n")
    shown = [
        way.run("sh", "-c", "cat /v/here; echo new >/v/new; echo $?", options=[f"-v={own}:/v"]),
        way.run("sh", "-c", "cat /v/here; echo new >/v/more; echo $?", options=[f"-v={own}:/v:ro"]),
    ]
    return shown, (own / "new").read_text(), (own / "more").exists()


@scenario()
def a_volume_as_dev(way: Way) -> object:
    """No tmpfs is at /dev then."""
    own = way.shared / secrets.token_hex(4)
    own.mkdir()
    outcome = way.run("sh", "-c", "echo x >/dev/file; cat /dev/file", options=[f"-v={own}:/dev"])
    return outcome, sorted(each.name for each in own.iterdir() if "scmm" not in each.name)


@scenario()
def standard_input(way: Way) -> object:
    return way.run("sh", "-c", "read line; echo got $line; cat | wc -c", input="one\n" + "x" * 200000)


@scenario(short=True)
def a_terminal(way: Way) -> object:
    """With a size, input, and a key that interrupts."""
    script = f"{_SIZED} echo $TERM; trap 'echo interrupted; exit 4' INT; read line; echo got $line; {FOREVER}"
    words = ["run", "-it", "--rm", "--pull=never", "--network=none", *way.engine.placement(), *way.options]
    with way.terminal(*words, way.image, "sh", "-c", script) as terminal:
        terminal.await_screen(lambda text: "33 101" in text, "its size")
        terminal.type(b"words\n")
        terminal.await_screen(lambda text: "got words" in text, "what was typed")
        terminal.type(b"\x03")
        return terminal.end(), [line for line in terminal.lines() if line != "^C"]


@scenario()
def a_terminal_without_input(way: Way) -> object:
    return way.run("sh", "-c", "test -t 1 && echo is one; test -t 0 && echo so is this; exit 3", options=["-t"])


EXECS: dict[str, tuple[list[str], list[str]]] = {
    "words": ([], ["echo", "a b", "c"]),
    "status": ([], ["sh", "-c", "echo out; echo err >&2; exit 3"]),
    "signalled": ([], ["sh", "-c", "kill -KILL $$"]),
    "user": (["-u", "65534:65534"], ["id"]),
    "named": (["-u", "nobody"], ["id"]),
    "directory": (["-w", "/tmp"], ["pwd"]),
    "environment": (["-e", "C=3", "-e", "A=other"], ["sh", "-c", "env | sort"]),
    "terminal": (["-t"], ["sh", "-c", "test -t 1 && echo is one; exit 5"]),
    "privileged": (["--privileged"], ["sh", "-c", "grep Cap /proc/self/status"]),
    "rights": ([], ["sh", "-c", "grep -E 'Cap|Sig[BIC]|Groups' /proc/self/status; umask; ls /proc/self/fd | wc -l"]),
    "nobody": (["-u", "nosuch"], ["id"]),
    "nowhere": (["-w", "/nosuch"], ["pwd"]),
    "much": ([], ["sh", "-c", f": {'x' * 100000}; echo done"]),
}


@scenario()
def execs(way: Way) -> object:
    with way.started("sh", "-c", LOOP, options=["-eA=1", "--hostname=here"]) as name:
        return {each: way.exec(name, *words, options=options) for each, (options, words) in EXECS.items()}


@scenario(short=True)
def execs_with_streams(way: Way) -> object:
    """Input, a terminal with its size and what is typed, and in the background; as somebody else, somewhere else."""
    with way.started("sh", "-c", LOOP, options=["-eA=1", "--hostname=here"]) as name:
        found: dict[str, object] = {}
        combined = "echo err >&2; id; pwd; env | sort; grep -E 'Cap|Sig[BIC]|Groups' /proc/self/status; wc -c; exit 3"
        options = ["-u", "65534:65534", "-w", "/tmp", "-e", "C=3"]
        found["input"] = way.exec(name, "sh", "-c", combined, options=options, input="x" * 300000)
        found["detached"] = way.exec(name, "sh", "-c", "echo here >/tmp/detached", options=["-d"])
        wait_until(
            lambda: way.exec(name, "cat", "/tmp/detached")[1] == ["here"], deadline_s=_WAIT_S, what="a detached exec"
        )
        with way.terminal("exec", "-it", name, "sh", "-c", AT_TERMINAL) as terminal:
            terminal.await_screen(lambda text: "33 101" in text, "its size")
            terminal.type(b"words\n")
            found["terminal with input"] = terminal.end(), terminal.lines()
    return found


@scenario()
def a_life(way: Way) -> object:
    """Restarted, signalled, looked at, stopped, started again, with its logs at the end."""
    found: list[object] = []
    engine = way.engine
    with way.started("sh", "-c", LOOP) as name:
        found.append(way("kill", "--signal=USR1", name, name=name))
        wait_until(lambda: "told" in engine.logs(name), deadline_s=_WAIT_S, what="told")
        found.append(way("restart", "--time=30", name, name=name))
        wait_until(lambda: engine.logs(name).count("begun") == 2, deadline_s=_WAIT_S, what="begun again")
        found.append(way.exec(name, "sh", "-c", "exit 4"))
        found.append(way("stop", "--time=30", name, name=name))
        found.append(way.state(name)["ExitCode"])
        found.append(way.exec(name, "true")[0])
        found.append(way("logs", name, name=name))
        found.append(way("logs", "--tail=1", name, name=name))
        found.append(way("start", name, name=name))
        wait_until(lambda: engine.logs(name).count("begun") == 3, deadline_s=_WAIT_S, what="begun a third time")
        found.append(way("kill", name, name=name))
        found.append(engine.wait(name))
    return found


@scenario()
def who_does_not_listen(way: Way) -> object:
    with way.started("sh", "-c", f"trap '' TERM; echo begun; {FOREVER}") as name:
        return way("stop", "--time=1", name, name=name), way.state(name)["ExitCode"]


@scenario()
def another_signal(way: Way) -> object:
    script = f"trap 'exit 11' USR2; echo begun; {FOREVER}"
    with way.started("sh", "-c", script, options=["--stop-signal=USR2"]) as name:
        return way("stop", "--time=30", name, name=name), way.state(name)["ExitCode"]


@scenario()
def logs_apart(way: Way) -> object:
    with way.started("sh", "-c", "echo one; echo two >&2; echo three; echo begun >&2; exit 3") as name:
        code = way.engine.wait(name)
        # In which of two streams something was first, engines do not know.
        return (
            code,
            way("logs", name, name=name),
            len(way("logs", "--tail=2", name)[1] + way("logs", "--tail=2", name)[2]),
        )


@scenario()
def restarted_on_failure(way: Way) -> object:
    with way.started("sh", "-c", "echo begun; exit 5", options=["--restart=on-failure:2"]) as name:

        def over() -> dict[str, Any] | None:
            told = way.engine.inspect(name)
            is_over = told["RestartCount"] == 2 and told["State"]["Status"] == "exited"
            return told if is_over else None

        told = wait_until(over, deadline_s=_WAIT_S, what="restarted twice")
        assert told is not None
        return told["RestartCount"], told["State"]["ExitCode"], way("logs", name, name=name)


def _health(way: Way, command: str) -> object:
    podman = way.engine.kind == "podman"
    # Without systemd, podman has no timers.
    options = [f"--health-cmd={command}", f"--health-interval={'disable' if podman else '1s'}", "--health-retries=1"]
    with way.started("sh", "-c", LOOP, options=options) as name:
        if podman:
            return way("healthcheck", "run", name, name=name)

        def told() -> dict[str, Any] | None:
            health: dict[str, Any] = way.state(name)["Health"]
            return None if health["Status"] == "starting" else health

        health = wait_until(told, deadline_s=_WAIT_S, what="a health check")
        assert health is not None
        return health["Status"], health["Log"][0]["ExitCode"], plain(health["Log"][0]["Output"])


@scenario()
def healthy(way: Way) -> object:
    return _health(way, "echo well; exit 0")


@scenario()
def unhealthy(way: Way) -> object:
    return _health(way, "echo ill; exit 1")


@scenario()
def paused(way: Way) -> object:
    with way.started("sh", "-c", LOOP) as name:
        return [
            way("pause", name, name=name),
            way.state(name)["Status"],
            way.exec(name, "true")[0],
            way("unpause", name, name=name),
            way.state(name)["Status"],
            way.exec(name, "echo", "here"),
        ]


@scenario()
def copied(way: Way) -> object:
    own = way.shared / secrets.token_hex(4)
    own.mkdir()
    (own / "in").write_text("text\n")
    with way.started("sh", "-c", LOOP) as name:
        found = [
            way("cp", str(own / "in"), f"{name}:/tmp/in", name=name)[0],
            way.exec(name, "cat", "/tmp/in"),
            way("cp", f"{name}:/etc/passwd", str(own / "out"), name=name)[0],
            way("cp", f"{name}:/nosuch", str(own / "none"), name=name)[0],
        ]
        return found, (own / "out").read_text()


@scenario()
def looked_at(way: Way) -> object:
    """top, ps, diff, export."""
    with way.started("sh", "-c", "echo begun; touch /new; exec sleep 1000", options=way.init()) as name:
        wait_until(lambda: "/new" in str(way("diff", name)), deadline_s=_WAIT_S, what="/new")
        form = ["-eo", "comm,args"] if way.engine.kind == "docker" else ["comm", "args"]
        listed = way("ps", "--filter", f"name={name}", "--format", "{{.Names}} {{.Command}} {{.Image}}", name=name)
        out = way.shared / secrets.token_hex(4)
        way("export", "-o", str(out), name)
        names = _names_in(out)
        return way("top", name, *form, name=name), listed, sorted(way("diff", name)[1]), names


def _names_in(tar: Path) -> list[str]:
    import tarfile

    with tarfile.open(tar) as archive:
        return sorted(each.name for each in archive if not each.name.startswith("bin/"))


@scenario()
def created_and_started(way: Way) -> object:
    """`create`, `start --attach`: its output and status, twice; then renamed, and removed."""
    name, other = (f"rig-{secrets.token_hex(4)}" for _ in range(2))
    options = ["--pull=never", "--network=none", *way.engine.placement(), *way.options]
    found = [way("create", "--name", name, *options, way.image, "sh", "-c", "echo out; exit 6", name=name)]
    found.extend(way("start", "--attach", name, name=name) for _ in range(2))
    found += [way("rename", name, other), way("start", "--attach", other, name=other), way("rm", other, name=other)]
    return found


@scenario()
def with_an_init(way: Way) -> object:
    """One that comes from the host, first in the container."""
    script = "cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline; exit 3"
    return way.run("sh", "-c", script, options=way.init())


@scenario()
def a_name_again(way: Way) -> object:
    name = f"rig-{secrets.token_hex(4)}"
    found: list[object] = []
    for number in range(2):
        with way.started("sh", "-c", f"echo begun {number}; exec sleep 1000", name=name):
            found += [way.exec(name, "echo", str(number)), way.engine.logs(name)]
    return found


@scenario()
def attached(way: Way) -> object:
    with way.started("sh", "-c", "echo begun; read line; echo got $line; exit 8", options=["-i"]) as name:
        code = way("attach", name, name=name, input="words\n")[0]
        return code, way.engine.wait(name), way.engine.logs(name)


@scenario()
def users_apart(way: Way) -> object:
    """A user namespace of its own; with Docker that is a matter of the daemon."""
    if way.engine.kind == "docker":
        return None
    script = "id -u; cat /proc/self/uid_map /proc/self/gid_map; touch /x; ls -ln /x | cut -c1-20; cat /etc/passwd"
    mapped = ["--uidmap=0:100000:65536", "--gidmap=0:100000:65536"]
    with way.started("sh", "-c", f"{script}; echo begun; exec sleep 1000", options=mapped) as name:
        return way("logs", name), way.exec(name, "sh", "-c", script)


#: What only podman has.
PODMANS: dict[str, tuple[list[str], str]] = {
    "no-cgroups": (["--cgroups=disabled"], "id"),
    "systemd": (["--systemd=always"], "echo $container; ls -a /run /tmp; test -w /sys/fs/cgroup; echo $?"),
    "unmasked": (["--security-opt=unmask=ALL"], "cat /proc/keys >/dev/null; echo $?"),
    "no-tmpfs": (["--read-only", "--read-only-tmpfs=false"], "touch /x; touch /tmp/x; touch /dev/shm/x; echo $?"),
    "same-user-names": (["--passwd=false", "-u1000"], "id"),
    "time-zone": (["--tz=Asia/Tokyo", "-eTZ=UTC"], "date +%Z"),
    "secret-mount": (["--mount=type=tmpfs,destination=/run,tmpfs-mode=700"], "ls -ld /run | cut -c1-10"),
}


def _podmans(options: Sequence[str], script: str) -> Scenario:
    return lambda way: way.run("sh", "-c", script, options=options) if way.engine.kind == "podman" else None


for _name, (_options, _script) in PODMANS.items():
    SCENARIOS[f"podman-{_name}"] = _podmans(_options, _script)


@scenario()
def namespaces_shared(way: Way) -> object:
    """With a container that runs: processes, IPC, network."""
    with way.started("sh", "-c", LOOP, options=["--ipc=shareable"]) as name:
        joined = [f"--{each}=container:{name}" for each in ("pid", "ipc")]
        script = "tr '\\0' ' ' </proc/1/cmdline; [ $$ != 1 ] && echo not the first; kill -USR1 1; exit 3"
        found = way.run("sh", "-c", script, options=joined)
        wait_until(lambda: "told" in way.engine.logs(name), deadline_s=_WAIT_S, what="told by the other")
        return found, way.run("true", options=[f"--volumes-from={name}"])


@scenario()
def descriptors_preserved(way: Way) -> object:
    """podman hands on those that it is told to, to the first process and to others."""
    if way.engine.kind != "podman":
        return None
    run = ["run", "--rm", "--preserve-fds=2", "--pull=never", "--network=none", *way.engine.placement()]
    script = "cat <&3; cat <&4; test -e /proc/self/fd/5 || echo no more"
    with Streams("three", "four") as streams, way.started("sh", "-c", LOOP) as name:
        command = way.engine.command()
        first = streams.run([*command, *run, *way.options, way.image, "sh", "-c", script], way.engine.environ())
        words = [*command, "exec", "--preserve-fds=2", name, "sh", "-c", script]
        return first, streams.run(words, way.engine.environ())


@scenario()
def many_at_once(way: Way) -> object:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda number: way.run("sh", "-c", f"echo {number}; exit {number}"), range(8)))


@scenario()
def inspected(way: Way) -> object:
    """What the engine tells, as one line for each value, but for ids, times, numbers of processes and the like."""
    with way.started("sh", "-c", LOOP) as name:
        return [line for line in flat(way.engine.inspect(name), name) if not _VOLATILE.search(line)]


_VOLATILE = re.compile(
    r"(?i)\.(id|pid|conmonpid|created|startedat|finishedat|hostname|cgrouppath|checkpointedat|createcommand\S*)="
    r"|Log(Path)?[.=]|Path=|Networks|Sandbox|GraphDriver|PidFile|MountLabel|StaticDir|RunDir|Mounts"
)


def flat(value: object, name: str, place: str = "") -> Iterator[str]:
    """One line for each value in JSON."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from flat(value[key], name, f"{place}.{key}")
    elif isinstance(value, list):
        # podman has no order for the environment.
        for each in sorted(value, key=json.dumps):
            yield from flat(each, name, f"{place}[]")
    else:
        yield from (f"{place}={line}" for line in plain(json.dumps(value), name))
