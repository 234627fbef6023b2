"""What `scmm compile` writes, loaded by those it is for: runtimes, engines, and systemd's own checker."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from recordings import Ground
from support import need

from rig import images, namespace
from rig import runc as bundles
from rig.cgroup import child_cgroup
from rig.process import RigError, missing_programs, run
from rig.runc import Bundle
from scmm_oci.cli.main import main
from scmm_oci.compiled.crun import ANNOTATION
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.arch import from_machine

ARCH = from_machine(os.uname().machine)
EPERM, ESRCH, ENOSYS, EPROTO = (errnos.ERRNOS[name] for name in ("EPERM", "ESRCH", "ENOSYS", "EPROTO"))
# What busybox needs, and answers that nobody else gives. getpgid is refused for one process only.
POLICY = """\
version: "1.0"
metadata: {name: "Targets of test"}
settings: {run_as: {uid: 1000, gid: 1000}}
syscalls:
  - names: ["@default", "@basic-io", "@file-system", "@process", "@signal", "@io-event", ioctl, arch_prctl]
    action: allow
  - {name: getsid, action: deny, errno: EPROTO}
  - {name: vhangup, action: deny, errno: ENOSYS}
  - {name: getpgid, action: allow}
  - name: getpgid
    action: deny
    errno: EPROTO
    constraints: [{arg: "0", type: integer, op: masked_eq, mask: 0xffffffff, value: 0xffffffff}]
"""
# Made with -1 throughout. getpid is allowed, quotactl has no rule.
CALLS = {"getsid": EPROTO, "vhangup": ENOSYS, "getpgid": EPROTO, "getpid": 0, "quotactl": EPERM}


def compiled(directory: Path, *forms: str, words: tuple[str, ...] = (), policy: str = POLICY) -> dict[str, Path]:
    """The outputs of one policy, by form."""
    source = directory / "targets.scmm.yaml"
    source.write_text(policy)
    paths = {form: directory / f"targets.{form}" for form in forms}
    options = [word for form, path in paths.items() for word in (f"--{form}", str(path))]
    assert main(["compile", "-i", str(source), *options, *words]) == 0
    return paths


def script() -> list[str]:
    numbers = " ".join(str(syscalls.number_of(ARCH, name)) for name in CALLS)
    return ["sh", "-c", f"for number in {numbers}; do /payload try $number; done"]


def answers(printed: str) -> dict[str, int]:
    return dict(zip(CALLS, map(int, printed.split()), strict=True))


# Runtimes and engines


@pytest.fixture
def payload_bundle(inside: namespace.Entered, payload: Path) -> Any:
    """A bundle whose program makes CALLS; with a seccomp section and annotations."""

    def make(runtime: str, seccomp: dict[str, Any] | None, annotations: dict[str, str]) -> Bundle:
        def edit(config: dict[str, Any]) -> None:
            config["linux"]["seccomp"] = seccomp
            if seccomp is None:
                del config["linux"]["seccomp"]
            config["annotations"] = annotations
            mount = {"destination": "/payload", "type": "bind", "source": str(payload), "options": ["bind", "ro"]}
            config["mounts"].append(mount)

        return Bundle(images.busybox(), example="busybox-sh", runtime=runtime, args=script(), edit=edit)

    return make


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_runtimes_load_the_profile_and_the_operators(runtime: str, payload_bundle: Any, tmp_path: Path) -> None:
    """The operator writes what is below `spec` to a file of the node, for the runtime."""
    need("CRUN" if runtime == "crun" else "KERNEL", bundles.available(runtime))
    made_of_it = compiled(tmp_path, "oci", "spo")
    profiles = [json.loads(made_of_it["oci"].read_text()), yaml.safe_load(made_of_it["spo"].read_text())["spec"]]
    for profile in profiles:
        with payload_bundle(runtime, profile, {}) as made:
            assert answers(made.run().stdout) == CALLS
    # Control: without it the kernel answers.
    with payload_bundle(runtime, None, {}) as made:
        assert answers(made.run().stdout)["getsid"] not in (0, EPROTO)


def test_crun_loads_our_filter(payload_bundle: Any, tmp_path: Path) -> None:
    """In the place of the bundle's own profile, which would refuse nothing, and where there is none."""
    need("CRUN", bundles.available("crun"))
    value = compiled(tmp_path, "crun-bpf", words=("--runtime", "crun"))["crun-bpf"].read_text().strip()
    nothing = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}
    for profile in (nothing, None):
        with payload_bundle("crun", profile, {ANNOTATION: value}) as made:
            assert answers(made.run().stdout) == CALLS
    # Control: without the annotation it is that profile.
    with payload_bundle("crun", nothing, {}) as made:
        assert answers(made.run().stdout)["getsid"] not in (0, EPROTO)
    # And what is no filter is none.
    with payload_bundle("crun", nothing, {ANNOTATION: value[:40]}) as made, pytest.raises(RigError):
        made.run()


@pytest.mark.parametrize("engine", ["podman", "docker"])
def test_engines_load_the_profiles(engine: str, request: pytest.FixtureRequest, payload: Path, tmp_path: Path) -> None:
    ground: Ground = request.getfixturevalue(engine)

    def made_in_a_container(*options: str) -> dict[str, int]:
        words = ["-v", f"{payload}:/payload:ro", *options]
        return answers(ground.engine.run(ground.busybox, *script(), options=words).stdout)

    for path in compiled(tmp_path, "oci", engine).values():
        assert made_in_a_container("--security-opt", f"seccomp={path}") == CALLS
    # Control: the engine's own profile does not answer so.
    assert made_in_a_container()["getsid"] not in (0, EPROTO)


# systemd

UNIT = "[Unit]\nDescription=Target of tests\n[Service]\nExecStart=/bin/true\n"
# A call that this libseccomp does not know; systemd leaves it to the default.
UNKNOWN = re.compile(r"Failed to parse system call, ignoring: ([a-z0-9_]+)$")


def complaints(directory: Path, drop_in: str) -> list[str]:
    """What systemd-analyze says of a service with a drop-in, but for calls that its libseccomp does not know."""
    unit = directory / "scmm-target.service"
    unit.write_text(UNIT)
    folder = directory / "scmm-target.service.d"
    folder.mkdir(exist_ok=True)
    (folder / "50-scmm.conf").write_text(drop_in)
    done = run(["systemd-analyze", "verify", "--man=no", str(unit)], check=False)
    ours = [line for line in done.stderr.splitlines() if "scmm-target" in line]
    known = run(["systemd-analyze", "syscall-filter", "@known"]).stdout.split()

    def is_new(line: str) -> bool:
        found = UNKNOWN.search(line)
        return found is not None and found[1] not in known and found[1] in syscalls.numbers(ARCH)

    return [line for line in ours if not is_new(line)] + ([] if done.returncode == 0 else [f"status {done.returncode}"])


def test_systemd_accepts_the_drop_in(tmp_path: Path) -> None:
    need("KERNEL", missing_programs("systemd-analyze"))
    text = compiled(tmp_path, "systemd")["systemd"].read_text()
    assert complaints(tmp_path, text) == []
    # Controls: each word of it is looked at.
    for right, wrong in (
        ("getsid:EPROTO", "getsid:EPROTOS"),
        ("SystemCallErrorNumber=EPERM", "SystemCallErrorNumber=EPERMS"),
        ("SystemCallArchitectures=x86-64", "SystemCallArchitectures=x86_64"),
        ("User=1000", "User=4294967295"),
        (" exit ", " exeunt "),
    ):
        assert right in text
        assert len(complaints(tmp_path, text.replace(right, wrong))) >= 1, wrong


def groups_within(directory: Path) -> dict[str, bool]:
    """systemd's groups of calls of which systemd-analyze says that the service may call some: name → whether."""
    unit = str(directory / "scmm-target.service")
    done = run(["systemd-analyze", "security", "--offline=true", "--json=short", unit], check=False)
    rows = {row["json_field"]: row for row in json.loads(done.stdout)}
    return {field: not row["set"] for field, row in rows.items() if field.startswith("SystemCallFilter_")}


def test_systemd_reads_the_list_as_it_is_meant(tmp_path: Path) -> None:
    """The policy allows nothing that the groups which are looked at (@clock, @privileged …) have."""
    need("KERNEL", missing_programs("systemd-analyze"))
    text = compiled(tmp_path, "systemd")["systemd"].read_text()
    assert complaints(tmp_path, text) == []
    found = groups_within(tmp_path)
    assert len(found) > 8 and not any(found.values()), found
    # Controls: a call of a group that is in another, and no list at all.
    more = text.replace("\nSystemCallFilter=~", "\nSystemCallFilter=swapon\nSystemCallFilter=~", 1)
    assert complaints(tmp_path, more) == []
    within = {field.removeprefix("SystemCallFilter_") for field, some in groups_within(tmp_path).items() if some}
    assert within == {"swap", "privileged"}
    assert complaints(tmp_path, "[Service]\nUser=1000\n") == []
    assert all(groups_within(tmp_path).values())


SYSTEMD = "/lib/systemd/systemd"
# The manager needs its targets; what ends ends it too.
MANAGER = f"""\
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/user && cd / &&
XDG_RUNTIME_DIR=/run/user SYSTEMD_UNIT_PATH="$1" SYSTEMD_LOG_TARGET=console exec {SYSTEMD} --user --unit=target.service
"""


def in_service(directory: Path, drop_in: str, payload: Path) -> str:
    """What CALLS end with in a service with that drop-in, started by a systemd of the test's own.

    It is a manager of a user, root, so it cannot be given `User=` and `Group=`.
    """
    units, printed = directory / "units", directory / "printed"
    (units / "target.service.d").mkdir(parents=True, exist_ok=True)
    printed.unlink(missing_ok=True)
    for name in ("exit", "shutdown"):
        (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    starts = [f"ExecStart=-{payload} try {syscalls.number_of(ARCH, name)}" for name in CALLS]
    body = ["[Unit]", "DefaultDependencies=no", "SuccessAction=exit-force", "FailureAction=exit-force"]
    body += ["[Service]", "Type=oneshot", *starts, f"StandardOutput=append:{printed}", "StandardError=null"]
    (units / "target.service").write_text("".join(f"{line}\n" for line in body))
    lines = [line for line in drop_in.splitlines() if not line.startswith(("User=", "Group="))]
    (units / "target.service.d/50-scmm.conf").write_text("".join(f"{line}\n" for line in lines))
    with child_cgroup("systemd", empty_s=5) as group:
        words = ["unshare", "--mount", "sh", "-c", MANAGER, "sh", units]
        run(words, cgroup=group, timeout=60, check=False)
    return printed.read_text() if printed.exists() else ""


LEAST = """\
version: "1.0"
syscalls:
  - {names: [arch_prctl, set_tid_address, set_robust_list, rseq, prlimit64, readlink, readlinkat], action: allow}
  - {names: [getrandom, mprotect, newfstatat, fstat, getpid, getpgid], action: allow}
  - {name: getsid, action: deny, errno: EPROTO}
"""
OPEN = """\
version: "1.0"
settings: {default_action: allow}
syscalls:
  - {name: getsid, action: deny, errno: EPROTO}
  - {names: [vhangup, quotactl], action: deny, errno: ENOSYS}
"""


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        # Rules with constraints are not held, and that is told: the kernel answers getpgid of no process.
        (POLICY, CALLS | {"getpgid": ESRCH}),
        # systemd gets as far as the program without a word of the policy about its own calls.
        (LEAST, CALLS | {"getpgid": ESRCH, "vhangup": EPERM}),
        (OPEN, CALLS | {"getpgid": ESRCH, "quotactl": ENOSYS}),
    ],
    ids=["list of allowed calls", "least", "list of refused calls"],
)
def test_systemd_starts_services_under_it(
    policy: str, expected: dict[str, int], inside: namespace.Entered, payload: Path, tmp_path: Path
) -> None:
    need("KERNEL", missing_programs("unshare", "systemd-analyze") or (None if Path(SYSTEMD).exists() else SYSTEMD))
    text = compiled(tmp_path, "systemd", policy=policy)["systemd"].read_text()
    assert answers(in_service(tmp_path, text, payload)) == expected
    # Controls: without it the kernel answers, and where the list refuses write there is no output.
    assert answers(in_service(tmp_path, "", payload))["getsid"] not in (0, EPROTO)
    assert in_service(tmp_path, f"{text}SystemCallFilter=~write\n", payload) == ""
