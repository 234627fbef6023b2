"""The launcher as entrypoint in images of all kinds, under podman's and Docker's own seccomp profiles."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from enforced import NUMBERS, Tools, enforced, make_tools, policy
from recordings import Ground

from rig.process import wait_until

RUN = ("execute", "read_file")
READ = ("read_file", "read_dir")
#: What the program does in the scratch image, what comes of it by itself, and what under the policy.
#: EACCES, ENOENT, ECONNREFUSED and ENOTUNIQ are 13, 2, 111 and 76.
ACTIONS = {
    "read /policy.scmm-pol": ("0", "13"),
    "read /actions": ("0", "0"),
    "open /new 0101": ("0", "13"),
    "stat /new": ("0", "2"),
    "mkdir /made": ("0", "13"),
    "stat /made": ("0", "2"),
    "connect 4000": ("111", "13"),
    f"call {NUMBERS['getppid']}": ("0", "76"),
    "exec /actions": ("0", "0"),
    "exec /scmm-enforce": ("125", "13"),
}
#: A value that the engines' own profiles refuse, and our policy does not.
PERSONALITY = f"call {NUMBERS['personality']} 0x100"
LANDLOCK = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return make_tools(tmp_path_factory.mktemp("enforced"))


@pytest.fixture(params=["podman", "docker"])
def ground(request: pytest.FixtureRequest) -> Ground:
    found: Ground = request.getfixturevalue(request.param)
    return found


def scratch(ground: Ground, tools: Tools, directory: Path) -> str:
    """An image with the launcher, a policy and a static program, and nothing else."""
    made = tools.compiled("scratch", policy({"/actions": RUN}))
    with tarfile.open(directory / "scratch.tar", "w") as archive:
        for source in (tools.launcher, tools.program, made):
            entry = tarfile.TarInfo("policy.scmm-pol" if source == made else source.name)
            data = source.read_bytes()
            entry.size, entry.mode = len(data), 0o644 if source == made else 0o755
            archive.addfile(entry, io.BytesIO(data))
    words = ["/scmm-enforce", "-v", "-p", "/policy.scmm-pol", "--"]
    changes = [f"ENTRYPOINT {json.dumps(words)}", 'CMD ["/actions"]']
    return ground.engine.import_image("scratch", directory / "scratch.tar", changes=changes)


def test_a_scratch_image(ground: Ground, tools: Tools, tmp_path: Path) -> None:
    image = scratch(ground, tools, tmp_path)
    own = "38" if ground.engine.kind == "podman" else "1"  # ENOSYS, EPERM
    lines = "".join(f"{line}\n" for line in (*ACTIONS, PERSONALITY))
    done = ground.engine.run(image, input=lines)
    assert done.stdout.splitlines() == [*(held for _, held in ACTIONS.values()), own], done.stderr
    # Nothing was held that was not said: this kernel's ABI decides about files, calls are always all there.
    assert re.search(r"is (fully|partially) enforced \(Landlock ABI \d+, calls fully, files \1", done.stderr)
    bare = ground.engine.run(image, options=["--entrypoint=/actions"], input=lines)
    assert bare.stdout.splitlines() == [*(free for free, _ in ACTIONS.values()), own]
    # The control: without the engine's own profile, which was there beside ours, that passes.
    wide = ["--entrypoint=/actions", "--security-opt=seccomp=unconfined"]
    assert ground.engine.run(image, options=wide, input=f"{PERSONALITY}\n").stdout == "0\n"


SCRIPT = """
cat /etc/passwd >/dev/null 2>&1 && echo passwd read || echo passwd refused
echo kept > /tmp/kept && cat /tmp/kept
touch /new 2>/dev/null; test -e /new && echo made in / || echo nothing in /
ls /var >/dev/null 2>&1 && echo var listed || echo var refused
"""
FREE = ["passwd read", "kept", "made in /", "var listed"]
HELD = ["passwd refused", "kept", "nothing in /", "var refused"]
BUSYBOX = {"/bin": RUN, "/tmp": ("make_reg", "write_file", "read_file", "truncate"), "/dev/null": ("write_file",)}
DEBIAN = {**BUSYBOX, "/usr": (*RUN, "read_dir"), "/lib": RUN, "/lib64": RUN, "/etc/ld.so.cache": ("read_file",)}


def everything(files: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A policy that leaves calls open."""
    made = policy(files, **more)
    return {**made, "settings": {"default_action": "allow"}, "syscalls": []}


@pytest.mark.parametrize(("which", "files"), [("busybox", BUSYBOX), ("services", DEBIAN)])
def test_images_with_shells(ground: Ground, tools: Tools, which: str, files: dict[str, Any]) -> None:
    made = tools.compiled(which, everything(files))
    image = ground.busybox if which == "busybox" else ground.services
    done = ground.engine.run(image, *enforced("sh", "-c", SCRIPT), options=tools.mounted(made))
    assert done.stdout.splitlines() == HELD, done.stderr
    bare = ground.engine.run(image, "sh", "-c", SCRIPT)
    assert bare.stdout.splitlines() == FREE, bare.stderr


def test_who_is_not_root(ground: Ground, tools: Tools) -> None:
    """Neither Landlock nor the filter takes a capability; what is missing in PATH and what ends is the program's."""
    made = tools.compiled("nobody", everything(BUSYBOX))
    options = [*tools.mounted(made), "--user=65534", "--cap-drop=ALL"]
    done = ground.engine.run(
        ground.busybox, *enforced("sh", "-c", f"id -u{SCRIPT}exit 7"), options=options, check=False
    )
    assert (done.returncode, done.stdout.splitlines()) == (7, ["65534", *HELD]), done.stderr
    bare = ground.engine.run(ground.busybox, "sh", "-c", SCRIPT, options=["--user=65534", "--cap-drop=ALL"])
    assert bare.stdout.splitlines() == [FREE[0], FREE[1], HELD[2], FREE[3]]
    missing = ground.engine.run(ground.busybox, *enforced("nosuch"), options=options, check=False)
    assert missing.returncode == 127 and "nosuch" in missing.stderr


@pytest.mark.parametrize(
    "more",
    [
        ("--read-only", "--tmpfs=/tmp"),
        ("--cap-drop=ALL",),
        ("--security-opt=no-new-privileges", "--user=65534"),
        ("--security-opt=seccomp=unconfined",),
    ],
)
def test_whatever_else_the_engine_takes_away(ground: Ground, tools: Tools, more: tuple[str, ...]) -> None:
    made = tools.compiled("options", everything(BUSYBOX))
    done = ground.engine.run(ground.busybox, *enforced("sh", "-c", SCRIPT), options=[*tools.mounted(made), *more])
    assert done.stdout.splitlines() == HELD, done.stderr
    bare = ground.engine.run(ground.busybox, "sh", "-c", SCRIPT, options=more)
    assert {*FREE} - {*bare.stdout.splitlines()} <= {"made in /"}, "what the engine takes away itself"


#: The link of procfs to a process's root directory (proc_pid_root(5)), and a file beyond it.
BEYOND = "/proc/1/{}/etc/passwd".format("root")
#: Read a file on each of the mounts, and move one from a mount to another.
MOUNTS = f"""
for path in /volume/file /again/file /beside/file /etc/hosts /etc/passwd /proc/1/status {BEYOND} \\
    /kept/open/file /kept/secret/file; do
    cat $path >/dev/null 2>&1 && echo "$path" || echo "$path refused"
done
echo new >/volume/new && mv /volume/new /memory/moved && cat /memory/moved
mv /kept/secret /kept/open/ 2>/dev/null && echo moved || echo stays
"""


def test_mounts(ground: Ground, tools: Tools, tmp_path: Path) -> None:
    """Rules are for files, by whatever mount they are reached; and what is excepted is, on a mount too."""
    for name in ("volume", "beside", "kept/open", "kept/secret"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("there")
    change = ["read_file", "read_dir", "make_reg", "write_file", "remove", "refer"]
    policy = everything(
        {**BUSYBOX, "/volume/**": change, "/memory": change, "/etc/hosts": READ[:1], "/proc/self/status": READ[:1]}
    )
    policy["filesystem"]["rules"].append({"path": "/kept/**", "access": list(READ), "except": ["/kept/secret"]})
    volumes = {"volume": ("/volume", "/again"), "beside": ("/beside",), "kept": ("/kept",)}
    options = [f"--volume={tmp_path / source}:{target}" for source, there in volumes.items() for target in there]
    options.append("--tmpfs=/memory")
    words = ("sh", "-c", MOUNTS)
    made = tools.compiled("mounts", policy)
    held = ground.engine.run(ground.busybox, *enforced(*words), options=[*tools.mounted(made), *options])
    assert held.stdout.splitlines() == [
        *("/volume/file", "/again/file", "/beside/file refused", "/etc/hosts", "/etc/passwd refused"),
        *("/proc/1/status", f"{BEYOND} refused", "/kept/open/file", "/kept/secret/file refused"),
        *("new", "stays"),
    ], held.stderr
    bare = ground.engine.run(ground.busybox, *words, options=options)
    assert "refused" not in bare.stdout and bare.stdout.splitlines()[-2:] == ["new", "moved"]


def test_exceptions_where_names_are_links(ground: Ground, tools: Tools) -> None:
    """In a merged /usr all programs have a second name; an exception takes both away, and nothing else."""
    rights = [*RUN, "read_dir"]
    rule = {"path": "/", "access": rights, "except": ["/usr/bin/id", "/etc/shadow"]}
    policy = everything({})
    policy["filesystem"]["rules"] = [rule]
    seen = '[ -n "$(cat {0})" ] && echo {0}; '
    script = f"id -u; /bin/id -u; {seen.format('/etc/shadow')}{seen.format('/etc/os-release')}"
    words = ("/usr/bin/sh", "-c", script)
    options = tools.mounted(tools.compiled("links", policy))
    held = ground.engine.run(ground.services, *enforced(*words), options=options)
    assert held.stdout.splitlines() == ["/etc/os-release"] and "/bin/id: Permission denied" in held.stderr, held.stderr
    bare = ground.engine.run(ground.services, *words)
    assert bare.stdout.splitlines() == ["0", "0", "/etc/shadow", "/etc/os-release"]


@pytest.mark.parametrize(("mode", "plain"), [("standard", None), ("permissive", 143)])
def test_the_engine_s_signals(ground: Ground, tools: Tools, mode: str, plain: int | None) -> None:
    """A program with a handler ends as it wants. Without one, SIGTERM ends it where it is not the first process."""
    made = tools.compiled("signals", everything({**BUSYBOX, "/ready": ("write_file", "truncate")}))
    mounted = [*tools.mounted(made), f"--volume={(tools.base / 'ready')}:/ready"]

    def status(script: str) -> int:
        (tools.base / "ready").write_text("")
        words = enforced("sh", "-c", script, options=["--mode", mode])
        name = ground.engine.run_detached(ground.busybox, *words, options=mounted)
        try:
            wait_until((tools.base / "ready").read_text, deadline_s=30, what="the program runs")
            ground.engine.kill(name, signal="TERM")
            return ground.engine.wait(name)
        finally:
            ground.engine.rm(name)

    assert status('trap "exit 3" TERM; echo 1 >/ready; while :; do sleep 0.05; done') == 3
    if plain is not None:
        assert status("echo 1 >/ready; exec sleep 60") == plain


def test_what_is_started_beside_the_entrypoint(ground: Ground, tools: Tools) -> None:
    """`exec`, and so health checks, know nothing of the entrypoint: they are held if they are given the launcher."""
    made = tools.compiled("beside", everything(BUSYBOX))
    words = enforced("sleep", "60")
    name = ground.engine.run_detached(ground.busybox, *words, options=tools.mounted(made))
    try:
        script = ("sh", "-c", SCRIPT)
        assert ground.engine.exec(name, *script).stdout.splitlines() == FREE
        held = ground.engine.exec(name, "/scmm-enforce", *enforced("sh", "-c", SCRIPT.replace("/new", "/other")))
        assert held.stdout.splitlines() == HELD, held.stderr
    finally:
        ground.engine.rm(name)


def test_whose_the_policy_is(ground: Ground, tools: Tools) -> None:
    """One that somebody in the container could change is not taken; root's is, and the user's own."""
    made = tools.compiled("whose", everything(BUSYBOX))
    program = enforced("sh", "-c", "echo started")
    for owner, mode, user, status in (
        (0, 0o644, 0, 0),
        (0, 0o644, 1234, 0),
        (1234, 0o400, 1234, 0),
        (1234, 0o644, 0, 125),
        (1234, 0o644, 1235, 125),
        (0, 0o664, 0, 125),
    ):
        os.chown(made, owner, 0)
        made.chmod(mode)
        options = [*tools.mounted(made), f"--user={user}"]
        done = ground.engine.run(ground.busybox, *program, options=options, check=False)
        assert (done.returncode, done.stdout) == (status, "" if status else "started\n"), (
            owner,
            mode,
            user,
            done.stderr,
        )


def test_a_policy_within_a_policy(ground: Ground, tools: Tools) -> None:
    """The program can take more away from itself by the launcher, and gives itself nothing."""
    outer = tools.compiled(
        "outer", everything({**BUSYBOX, **{f"/{name}": RUN for name in ("scmm-enforce", "inner.scmm-pol")}})
    )
    inner = tools.compiled("inner", everything({"/bin": RUN, "/etc": READ, "/dev/null": ("write_file",)}))
    options = [*tools.mounted(outer), f"--volume={inner}:/inner.scmm-pol:ro"]
    script = SCRIPT.replace("cat /tmp/kept", "cat /tmp/kept || echo nothing kept")
    words = ["/scmm-enforce", "-p", "/inner.scmm-pol", "--", "sh", "-c", script]
    done = ground.engine.run(ground.busybox, *enforced(*words), options=options)
    assert done.stdout.splitlines() == ["passwd refused", "nothing kept", *HELD[2:]], done.stderr
    # The control: the inner one alone lets passwd be read.
    alone = ground.engine.run(ground.busybox, "-p", "/inner.scmm-pol", *words[3:], options=options)
    assert alone.stdout.splitlines() == ["passwd read", "nothing kept", *HELD[2:]], alone.stderr


#: A program is copied to where the first word says, and executed there: from a file, or from memory.
COPIED = """
open(my $from, "<", "/usr/bin/id") or die "read: $!";
my $name = "copy";
my $to = $ARGV[0] || "/proc/self/fd/" . syscall($ARGV[1] + 0, $name, 0);
open(my $into, ">", $to) or die "write: $!";
print $into do { local $/; <$from> };
close($into);
chmod(0755, $to);
exec($to, "-u") or print "$!\\n";
"""


def test_what_execute_is_not_about(ground: Ground, tools: Tools) -> None:
    """Landlock says nothing of files without a place; a filter does, of how they are made (docs/enforce.md)."""
    files = {**DEBIAN, "/dev/null": (*READ[:1], "write_file")}
    policies = {
        "open": everything(files),
        "shut": {**everything(files), "syscalls": [{"name": "memfd_create", "action": "deny"}]},
    }
    said = {}
    for name, one in policies.items():
        options = tools.mounted(tools.compiled(f"memory-{name}", one))
        for target in ("/tmp/copy", ""):
            words = enforced("perl", "-e", COPIED, target, str(NUMBERS["memfd_create"]))
            done = ground.engine.run(ground.services, *words, options=options, check=False)
            said[name, target] = done.stdout.strip() or done.stderr.splitlines()[-1]
    bare = ground.engine.run(ground.services, "perl", "-e", COPIED, "/tmp/copy", "0").stdout
    assert bare == "0\n"
    assert said["open", "/tmp/copy"] == said["shut", "/tmp/copy"] == "Permission denied"
    assert said["open", ""] == "0" and said["shut", ""].startswith("write: ")


def refusing(directory: Path, errno: int, *names: str) -> str:
    """The option of an engine for a profile that refuses these calls."""
    rule = {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule]}
    path = directory / "profile.json"
    path.write_text(json.dumps(profile))
    return f"--security-opt=seccomp={path}"


@pytest.mark.parametrize(("errno", "word"), [(1, "EPERM"), (38, "ENOSYS")])
def test_a_profile_without_landlock(ground: Ground, tools: Tools, tmp_path: Path, errno: int, word: str) -> None:
    """As engines had them before Landlock: said, not claimed; and nothing is run where all was asked for."""
    made = tools.compiled("busybox", everything(BUSYBOX))
    options = [*tools.mounted(made), refusing(tmp_path, errno, *LANDLOCK)]
    done = ground.engine.run(ground.busybox, *enforced("sh", "-c", SCRIPT), options=options)
    assert done.stdout.splitlines() == FREE, "the control: nothing is held"
    assert "files not, ports not" in done.stderr and word in done.stderr
    words = enforced("sh", "-c", "echo started", options=["--mode", "strict"])
    strict = ground.engine.run(ground.busybox, *words, options=options, check=False)
    assert (strict.returncode, strict.stdout) == (125, "")
    assert "nothing is run" in strict.stderr
    checked = ground.engine.run(
        ground.busybox, "-p", "/policy.scmm-pol", "--check", "--json", options=options, check=False
    )
    assert checked.returncode == 1
    status = json.loads(checked.stdout)
    assert (status["landlock_abi"], status["enforced"], status["layers"]["files"]) == (0, "partially", "not")


def test_a_profile_without_seccomp(ground: Ground, tools: Tools, tmp_path: Path) -> None:
    """A filter that cannot be loaded is never left out."""
    made = tools.compiled("calls", {"version": "1.0", "syscalls": [{"name": "@default", "action": "allow"}]})
    program = enforced("/actions", "nothing")
    options = [*tools.mounted(made), refusing(tmp_path, 1, "seccomp")]
    done = ground.engine.run(ground.busybox, *program, options=options, check=False)
    assert done.returncode == 125
    assert "the kernel refuses the filter: EPERM" in done.stderr
