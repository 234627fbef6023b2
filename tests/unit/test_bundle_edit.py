"""Changes to an OCI configuration: what is added, and that nothing else is another afterwards."""

import copy
import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.runc import template
from scmm_oci import quickjson
from scmm_oci.enforcer import added_hooks, admits, bundle, wishes
from scmm_oci.enforcer.bundle import Plan
from scmm_oci.oci import annotations as names
from scmm_oci.recorder import settings
from scmm_oci.settings_file import BadSettings

# The parts that we touch, as config.md, config-linux.md and runtime.md of the runtime-spec describe them.
HOOK = {
    "type": "object",
    "required": ["path"],
    "properties": {
        "path": {"type": "string", "pattern": "^/"},
        "args": {"type": "array", "items": {"type": "string"}},
        "env": {"type": "array", "items": {"type": "string"}},
        "timeout": {"type": "integer", "minimum": 1},
    },
}
STAGES = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
ACTIONS = ["KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY"]
ACTION = {"enum": [f"SCMP_ACT_{one}" for one in ACTIONS]}
COMPARISONS = [f"SCMP_CMP_{one}" for one in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")]
UINT64 = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
SECCOMP = {
    "type": "object",
    "required": ["defaultAction"],
    "properties": {
        "defaultAction": ACTION,
        "syscalls": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["names", "action"],
                "properties": {
                    "names": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                    "action": ACTION,
                    "args": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["index", "value", "op"],
                            "properties": {
                                "index": {"type": "integer", "minimum": 0, "maximum": 5},
                                "value": UINT64,
                                "valueTwo": UINT64,
                                "op": {"enum": COMPARISONS},
                            },
                        },
                    },
                },
            },
        },
    },
}
SCHEMA = {
    "type": "object",
    "required": ["ociVersion"],
    "properties": {
        "process": {
            "type": "object",
            "required": ["cwd"],
            "properties": {
                "cwd": {"type": "string"},
                "args": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                "env": {"type": "array", "items": {"type": "string"}},
                "noNewPrivileges": {"type": "boolean"},
            },
        },
        "root": {"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}}},
        "mounts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["destination"],
                "properties": {
                    "destination": {"type": "string", "pattern": "^/"},
                    "type": {"type": "string"},
                    "source": {"type": "string"},
                    "options": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
        "hooks": {"type": "object", "properties": {one: {"type": "array", "items": HOOK} for one in STAGES}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "linux": {"type": "object", "properties": {"seccomp": SECCOMP}},
    },
}


def valid(config):
    jsonschema.Draft202012Validator(SCHEMA).validate(config)
    return True


def plan(**changes):
    given_ = {
        "launcher_source": "/lib/scmm-enforce",
        "policy_source": "/run/scmm/x/policy",
        "mode": "strict",
        **changes,
    }
    return Plan(**given_)


def mount(destination, kind="tmpfs", *options, source="tmpfs"):
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def config(*mounts, **more):
    process = {"args": ["nginx", "-g", "daemon off;"], "cwd": "/", "noNewPrivileges": False}
    return {"ociVersion": "1.0.2", "process": process, "root": {"path": "rootfs"}, "mounts": list(mounts), **more}


def wish(**changes):
    made = wishes.Wish()
    for key, value in changes.items():
        setattr(made, key, value)
    return made


# Paths.


def test_paths_become_those_of_the_bundle():
    there = config(
        mount("/dev"),
        mount("/data", "bind", source="data"),
        mount("/up", "none", "rbind", "rw", source="../up"),
        mount("/abs", "bind", source="/srv"),
        mount("/over", "overlay", source="overlay"),
        {"destination": "/x", "type": "bind"},
    )
    before = copy.deepcopy(there)
    bundle.absolute(there, "/srv/bundle")
    assert there["root"]["path"] == "/srv/bundle/rootfs"
    sources = [one.get("source") for one in there["mounts"]]
    assert sources == ["tmpfs", "/srv/bundle/data", "/srv/bundle/../up", "/srv", "overlay", None]
    there["root"]["path"], there["mounts"] = before["root"]["path"], before["mounts"]
    assert there == before
    once = config(mount("/data", "bind", source="data"))
    bundle.absolute(once, "/srv/bundle")
    again = copy.deepcopy(once)
    bundle.absolute(again, "/other")
    assert again == once


def test_paths_that_are_not_there():
    for there in ({}, {"root": None, "mounts": None}, {"root": {}}, {"root": {"path": ""}}):
        before = copy.deepcopy(there)
        bundle.absolute(there, "/b")
        assert there == before


# Enforcing.


def test_the_launcher_stands_before_the_program():
    there, made = config(mount("/proc", "proc"), mount("/dev"), mount("/dev/shm"), mount("/tmp")), plan()
    assert bundle.enforce(there, made) == []
    assert (made.launcher, made.policy, made.in_rootfs) == ("/dev/.scmm-enforce", "/dev/.scmm-policy", False)
    assert there["process"]["args"] == [
        *("/dev/.scmm-enforce", "-q", "-p", "/dev/.scmm-policy", "-m", "strict", "--guard", "--"),
        *("nginx", "-g", "daemon off;"),
    ]
    assert there["process"]["noNewPrivileges"] is True
    options = ["bind", "ro", "nosuid", "nodev"]
    assert there["mounts"][-2:] == [
        {"destination": "/dev/.scmm-enforce", "type": "bind", "source": "/lib/scmm-enforce", "options": options},
        {"destination": "/dev/.scmm-policy", "type": "bind", "source": "/run/scmm/x/policy", "options": options},
    ]
    assert valid(there)


@pytest.mark.parametrize(
    ("mounts", "place"),
    [
        ([mount("/run"), mount("/dev")], "/dev"),
        ([mount("/tmp"), mount("/run/")], "/run"),
        ([mount("/tmp")], "/tmp"),
        ([mount("/dev", "bind", source="/dev"), mount("/run")], "/run"),
        ([mount("/dev", "tmpfs", "bind", source="/dev"), mount("/run")], "/run"),
        # What is mounted last is what is seen.
        ([mount("/dev"), mount("/dev", "bind", source="/dev"), mount("/tmp")], "/tmp"),
        ([mount("/dev", "bind", source="/dev"), mount("/dev")], "/dev"),
        ([mount("/dev"), mount("/", "bind", source="/x")], ""),
        ([mount("/dev", "tmpfs", "nosuid", "ro"), mount("/run")], "/run"),
        ([mount("/dev/shm"), mount("/run/lock"), mount("/var/tmp")], ""),
        ([mount("/proc", "proc")], ""),
        ([], ""),
        ([{"destination": "/dev"}, {"type": "tmpfs"}], ""),
    ],
)
def test_where_they_are_in_the_container(mounts, place):
    there, made = config(*mounts), plan()
    bundle.enforce(there, made)
    assert made.launcher == f"{place}/.scmm-enforce"
    assert made.in_rootfs is (place == "")
    # Nothing is mounted over them.
    assert [one["destination"] for one in there["mounts"][-2:]] == [made.launcher, made.policy]


def test_no_mounts_at_all():
    for there in (config() | {"mounts": None}, {key: value for key, value in config().items() if key != "mounts"}):
        bundle.enforce(there, plan())
        assert len(there["mounts"]) == 2


def test_descriptors_are_the_programs():
    there = config()
    bundle.enforce(there, plan(preserve_fds=3))
    assert there["process"]["args"][7:10] == ["--preserve-fds", "3", "--"]


def test_the_seccomp_section_admits_the_launcher():
    there = config(linux={"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "x": 1.0}})
    (note,) = bundle.enforce(there, plan(parts={admits.RULESET}))
    assert note.startswith("linux.seccomp: allowed besides, for the launcher: ") and "landlock_restrict_self" in note
    assert "landlock_restrict_self" in there["linux"]["seccomp"]["syscalls"][0]["names"]
    assert valid(there)
    # The twins: no section, and one that allows all.
    for linux in ({}, {"seccomp": None}, {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}, None):
        there = config(linux=linux)
        assert bundle.enforce(there, plan()) == []
        assert there["linux"] == linux


def test_a_filter_that_cannot_be_added_to_is_told():
    there = config(annotations={"run.oci.seccomp_bpf_data": "x"})
    assert "run.oci.seccomp_bpf_data" in bundle.enforce(there, plan())[0]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"process": None}, ".process: is missing"),
        ({"process": []}, ".process: not an object"),
        ({"process": {}}, "process.args"),
        ({"process": {"args": []}}, "process.args"),
        ({"process": {"args": ["x", 1]}}, "process.args"),
        ({"process": {"args": "x"}}, "process.args"),
        ({"mounts": {}}, ".mounts: "),
        ({"mounts": ["x"]}, ".mounts: "),
        ({"linux": []}, ".linux: "),
        ({"linux": {"seccomp": []}}, "linux.seccomp: "),
        ({"linux": {"seccomp": {"defaultAction": 1}}}, "linux.seccomp.defaultAction"),
        (
            {
                "linux": {
                    "seccomp": {
                        "defaultAction": "SCMP_ACT_ALLOW",
                        "syscalls": [{"names": ["openat"], "action": "SCMP_ACT_TRAP"}],
                    }
                }
            },
            "refuses openat",
        ),
    ],
)
def test_what_cannot_be_enforced_is_left_as_it_is(changes, place):
    there = config() | changes
    before = copy.deepcopy(there)
    with pytest.raises(ValueError, match=place):
        bundle.enforce(there, plan())
    assert there == before


# exec.


def test_exec():
    made = plan(launcher="/dev/.scmm-enforce", policy="/dev/.scmm-policy", preserve_fds=2)
    process = {"args": ["sh"], "terminal": True, "user": {"uid": 7}, "unknown": [1e300, 2**70]}
    bundle.exec_process(process, made, preserve_fds=0)
    assert process == {
        "args": [*bundle.words(made, preserve_fds=0), "sh"],
        "terminal": True,
        "user": {"uid": 7},
        "unknown": [1e300, 2**70],
        "noNewPrivileges": True,
    }
    assert bundle.words(made, preserve_fds=0) == [
        "/dev/.scmm-enforce",
        "-q",
        "-p",
        "/dev/.scmm-policy",
        "-m",
        "strict",
        "--guard",
        "--",
    ]
    assert bundle.words(made)[7:] == ["--preserve-fds", "2", "--"]
    for process in ({}, {"args": []}, {"args": None}):
        with pytest.raises(ValueError, match="args"):
            bundle.exec_process(process, made)
    with pytest.raises(ValueError, match="no launcher"):
        bundle.words(plan())


# Recording.


def test_hooks_and_annotations():
    there = config()
    added_hooks.record(there, "/lib/scmm-hook", wish(record=True, name="web"))
    assert there["annotations"] == {names.RECORD: "true", names.NAME: "web"}
    assert there["hooks"] == {
        stage: [{"path": "/lib/scmm-hook", "args": ["scmm-hook", stage], "timeout": 62}]
        for stage in ("prestart", "poststop")
    }
    assert valid(there)
    again = copy.deepcopy(there)
    added_hooks.record(again, "/lib/scmm-hook", wish(record=True, name="web"))
    assert again == there


def test_the_hook_gives_up_before_the_runtime_kills_it():
    """A runtime starts no container whose hook it had to kill; and recording stops none."""
    there = config()
    added_hooks.record(there, "/lib/scmm-hook", wish(record=True))
    (hook,) = there["hooks"]["prestart"]
    assert settings.check({"deadline": 60}).deadline < hook["timeout"]
    with pytest.raises(BadSettings):
        settings.check({"deadline": 61})


def test_the_hook_reads_what_was_written():
    there = config(annotations={"a": "b", names.NAME: "../x"})
    added_hooks.record(there, "/lib/scmm-hook", wish(record=True, required=True))
    assert there["annotations"] == {"a": "b", names.RECORD: "required"}
    read = names.read(there["annotations"], default_name="x")
    assert (read.record, read.required, read.name, read.problems) == (True, True, "x", [])


def test_hooks_of_others_stay_and_come_first():
    other = {"path": "/usr/bin/nvidia", "args": ["x"]}
    there = config(hooks={"prestart": [other], "poststart": [other], "poststop": None})
    added_hooks.record(there, "/lib/scmm-hook", wish(record=True))
    assert there["hooks"]["prestart"][0] == other and len(there["hooks"]["prestart"]) == 2
    assert there["hooks"]["poststart"] == [other]
    assert len(there["hooks"]["poststop"]) == 1
    # podman's hooks directory may have added ours, to another stage.
    ours = {"path": "/lib/scmm-hook", "args": ["scmm-hook", "createRuntime"]}
    there = config(hooks={"createRuntime": [ours]})
    added_hooks.record(there, "/lib/scmm-hook", wish(record=True))
    assert "prestart" not in there["hooks"] and len(there["hooks"]["poststop"]) == 1


@pytest.mark.parametrize(
    "changes", [{"hooks": []}, {"hooks": {"prestart": {}}}, {"hooks": {"poststop": "x"}}, {"annotations": []}]
)
def test_malformed_hooks(changes):
    with pytest.raises(ValueError, match=r"\.(hooks|annotations)"):
        added_hooks.record(config() | changes, "/lib/scmm-hook", wish(record=True))


def test_a_hook_of_the_shim():
    there = config()
    for _ in range(2):
        added_hooks.add(there, "poststop", "/lib/scmm-runc", ["scmm-runc", "--ended", "x"], timeout=5)
    assert there["hooks"]["poststop"] == [
        {"path": "/lib/scmm-runc", "args": ["scmm-runc", "--ended", "x"], "timeout": 5}
    ]
    added_hooks.add(there, "poststop", "/lib/scmm-runc", ["scmm-runc", "--ended", "y"])
    assert len(there["hooks"]["poststop"]) == 2


# Laws.

WORDS = st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
MORE = st.dictionaries(WORDS.map("x-{}".format), JSON, max_size=3)


@st.composite
def configs(draw):
    made = draw(st.sampled_from([template("busybox-true"), template("busybox-sh"), config(mount("/run"))]))
    made = {**draw(MORE), **copy.deepcopy(made), **draw(MORE)}
    made["process"] = {**draw(MORE), **made["process"], **draw(MORE)}
    made["mounts"] = [{**one, **draw(MORE)} for one in made["mounts"]]
    if draw(st.booleans()):
        made["linux"] = {**made.get("linux", {}), "seccomp": {**draw(MORE), "defaultAction": "SCMP_ACT_ERRNO"}}
    if draw(st.booleans()):
        made["annotations"] = draw(st.dictionaries(WORDS, WORDS, max_size=2))
    return made


@given(configs(), st.sampled_from(names.MODES))
def test_nothing_else_is_changed(there, mode):
    before = json.dumps(there)
    bundle.absolute(there, "/srv/bundle")
    bundle.enforce(there, plan(mode=mode, parts={admits.FILTER, admits.RULESET}))
    had_annotations = "annotations" in json.loads(before)
    had_name = names.NAME in json.loads(before).get("annotations", {})
    added_hooks.record(there, "/lib/scmm-hook", wish(record=True, name="web"))
    assert valid(there)
    assert quickjson.loads(json.dumps(there).encode()) == there
    # Take away what was added: what is left is what was there, member for member and in its order.
    assert not had_name
    there["process"]["args"] = there["process"]["args"][8 if mode in ("standard", "strict", "ask") else 7 :]
    there["process"]["noNewPrivileges"] = json.loads(before)["process"]["noNewPrivileges"]
    there["root"]["path"] = there["root"]["path"].removeprefix("/srv/bundle/")
    del there["mounts"][-2:]
    del there["hooks"]
    if isinstance(there.get("linux"), dict) and there["linux"].get("seccomp"):
        there["linux"]["seccomp"].pop("syscalls")
    for key in (names.RECORD, names.NAME):
        del there["annotations"][key]
    if not had_annotations:
        del there["annotations"]
    assert json.dumps(there) == before
