"""Configurations of engines with the shim added: what is added, that nothing else changes, and what is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer.registration import containerd, docker, podman, toml_text
from scmm_oci.enforcer.registration.engines import ENGINES, Kind, names
from scmm_oci.errors import BadInput, Problem

RUNTIMES = {"scmm": "/opt/libexec/scmm-runc", "scmm-crun": "/opt/libexec/scmm-crun"}
ADDED = {name: {"path": path} for name, path in RUNTIMES.items()}


def problems(kind: Kind, text: str) -> list[Problem]:
    with pytest.raises(BadInput) as caught:
        ENGINES[kind].edited(text, RUNTIMES)
    return list(caught.value.problems)


def places(kind: Kind, text: str) -> list[str]:
    return [problem.place for problem in problems(kind, text)]


def without(text: str, added: str) -> list[str]:
    """The lines of `added`, less those of `text`, which have to be there in their order."""
    rest = iter(text.splitlines())
    expected = next(rest, None)
    result = []
    for line in added.splitlines():
        if line == expected:
            expected = next(rest, None)
        else:
            result.append(line)
    assert expected is None, f"{expected!r} is gone"
    return result


# Docker


@pytest.mark.parametrize("text", [None, "", " \n", "{}", "{ }\n"])
def test_docker_without_settings(text: str | None) -> None:
    made = docker.edited(text, RUNTIMES)
    assert json.loads(made) == {"runtimes": ADDED}
    assert made.endswith("}\n")


DAEMON = """\
{
    "log-driver": "json-file",   "debug" : false,
    "runtimes": {
        "nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}
    },
    "max": 1e999, "exact": 1.10, "long": 123456789012345678901234567890
}
"""


def test_docker_keeps_every_line() -> None:
    assert without(DAEMON, docker.edited(DAEMON, {"scmm": "/x"})) == [
        '        "scmm": {',
        '            "path": "/x"',
        "        },",
    ]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ('{"a": 1}', '{"runtimes": {"r": {"path": "/r"}}, "a": 1}'),
        ('{"runtimes": {}}', '{"runtimes": {"r": {"path": "/r"}}}'),
        (
            '{"a": {"runtimes": {}}, "runtimes":{"k":{}}}',
            '{"a": {"runtimes": {}}, "runtimes":{"r": {"path": "/r"}, "k":{}}}',
        ),
        ('{\r\n\t"a": 1}', '{\n\t"runtimes": {\n\t\t"r": {\n\t\t\t"path": "/r"\n\t\t}\n\t},\r\n\t"a": 1}'),
        ('{\n "runtimes": { "k": {} }\n}', '{\n "runtimes": {\n  "r": {\n   "path": "/r"\n  },\n  "k": {} }\n}'),
    ],
)
def test_docker_writes_as_the_file_does(text: str, made: str) -> None:
    assert docker.edited(text, {"r": "/r"}) == made


def test_docker_names_all_that_are_in_the_way() -> None:
    text = json.dumps({"runtimes": {"scmm": {"path": "/other"}, "scmm-crun": {"type": "io.x"}, "more": {}}})
    assert places(Kind.DOCKER, text) == [".runtimes.scmm", ".runtimes.scmm-crun"]
    assert "'/other'" in str(problems(Kind.DOCKER, text)[0])


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('{\n  "a": }', "line 2, column 8", "is no JSON"),
        ("[]", "", "an object is expected"),
        ('{"runtimes": []}', ".runtimes", "an object of runtimes is expected"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "", "has 'c' twice"),
        ('{"a": NaN}', "", "has NaN"),
        ('{"a": ' + "[" * 100_000, "", "is nested too deep"),
        (
            '{"runtimes": {"scmm": {"path": "/opt/libexec/scmm-runc", "runtimeArgs": ["-x"]}}}',
            ".runtimes.scmm",
            "already",
        ),
    ],
)
def test_docker_refuses(text: str, place: str, message: str) -> None:
    (problem,) = problems(Kind.DOCKER, text)
    assert problem.place == place
    assert message in problem.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    document=st.dictionaries(st.text().filter(lambda name: name != "runtimes"), JSON, max_size=4),
    others=st.none() | st.dictionaries(st.text().filter(lambda name: name not in RUNTIMES), JSON, max_size=3),
    at=st.integers(0, 4),
    indent=st.none() | st.integers(0, 4) | st.just("\t"),
    ascii_only=st.booleans(),
)
def test_docker_adds_exactly_that(
    document: dict[str, Any], others: dict[str, Any] | None, at: int, indent: int | str | None, ascii_only: bool
) -> None:
    if others is not None:
        members = list(document.items())
        document = dict([*members[:at], ("runtimes", others), *members[at:]])
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    made = docker.edited(text, RUNTIMES)
    assert json.loads(made) == {**document, "runtimes": {**(others or {}), **ADDED}}
    assert docker.edited(made, RUNTIMES) == made
    assert docker.entries(made, RUNTIMES) == list(RUNTIMES)
    assert docker.entries(text, RUNTIMES) == []


# TOML


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("", "[a.b]\nk = 1\n"),
        ("x = 1", "x = 1\n\n[a.b]\nk = 1\n"),
        ("[a.b]", "[a.b]\nk = 1\n"),
        ("[a.b] # c\nx = 1\n", "[a.b] # c\nk = 1\nx = 1\n"),
        ("[z]\n  [ a . 'b' ]\n  x = 1\n", "[z]\n  [ a . 'b' ]\n  k = 1\n  x = 1\n"),
        ("[a.b.c]\nx = nan\n", "[a.b.c]\nx = nan\n\n[a.b]\nk = 1\n"),
        ('x = """\n[a.b]\n"""\n[a.b]\n', 'x = """\n[a.b]\n"""\n[a.b]\nk = 1\n'),
        ("[[a.c]]\n[[a.c]]\n", "[[a.c]]\n[[a.c]]\n\n[a.b]\nk = 1\n"),
    ],
)
def test_toml_is_added_to(text: str, made: str) -> None:
    assert toml_text.add(text, ("a", "b"), {"k": 1}) == made


@pytest.mark.parametrize("text", ["a = {b = {}}\n", "a.b.x = 1\n", "[a]\nb.x = 1\n", "[a]\nb = {x = 1}\n"])
def test_toml_that_takes_no_lines_is_told_with_the_lines(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        toml_text.add(text, ("a", "b"), {"k": ["v"], "an other": True})
    (problem,) = caught.value.problems
    assert problem.place == ".a.b"
    assert problem.hint == 'add there: k = ["v"]; "an other" = true'


@given(value=st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.lists(st.text(), max_size=3))
def test_toml_reads_values_as_they_were(value: toml_text.Value) -> None:
    assert tomllib.loads(toml_text.add("", ("a b", "é"), {"k.k": value})) == {"a b": {"é": {"k.k": value}}}


# podman


CONTAINERS = """\
# Our settings
[containers]
log_driver = "k8s-file"   # not the journal

[engine]
# crun does not start here
runtime = "runc"
hooks_dir = [
  "/etc/hooks.d", # ours
]

  [engine.runtimes]
  # none so far
"""


def test_podman_keeps_every_line_and_adds_its_own() -> None:
    made = podman.edited(CONTAINERS, RUNTIMES)
    assert without(CONTAINERS, made) == [
        'runtime_supports_json = ["crun", "crun-vm", "kata", "krun", "runc", "runsc", "scmm", "scmm-crun", "youki"]',
        '  scmm = ["/opt/libexec/scmm-runc"]',
        '  scmm-crun = ["/opt/libexec/scmm-crun"]',
    ]
    meant = tomllib.loads(made)
    assert meant["engine"]["runtimes"] == {name: [path] for name, path in RUNTIMES.items()}
    assert meant["engine"]["runtime"] == "runc", "the default is theirs"
    assert podman.edited(made, RUNTIMES) == made
    assert podman.entries(made, RUNTIMES) == list(RUNTIMES)
    assert podman.entries(CONTAINERS, RUNTIMES) == []
    assert podman.notes(made, RUNTIMES) == []


def test_podman_without_a_file() -> None:
    meant = tomllib.loads(podman.edited(None, RUNTIMES))
    assert meant["engine"]["runtimes"] == {name: [path] for name, path in RUNTIMES.items()}
    assert set(meant) == {"engine"}


def test_podman_with_a_list_of_their_own_is_told_what_it_lacks() -> None:
    text = '[engine]\nruntime_supports_json = ["crun", "scmm"]\n'
    made = podman.edited(text, RUNTIMES)
    assert tomllib.loads(made)["engine"]["runtime_supports_json"] == ["crun", "scmm"]
    (note,) = podman.notes(made, RUNTIMES)
    assert "does not name scmm-crun:" in note.message


def test_podman_names_all_that_are_in_the_way() -> None:
    text = '[engine.runtimes]\nscmm = ["/other"]\nscmm-crun = ["/opt/libexec/scmm-crun", "/other"]\nrunc = ["/x"]\n'
    assert places(Kind.PODMAN, text) == [".engine.runtimes.scmm", ".engine.runtimes.scmm-crun"]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("[engine\n", "", "is no TOML"),
        ("engine = 1\n", ".engine", "a table is expected"),
        ("[engine]\nruntimes = ['x']\n", ".engine.runtimes", "a table is expected"),
    ],
)
def test_podman_refuses(text: str, place: str, message: str) -> None:
    (problem,) = problems(Kind.PODMAN, text)
    assert problem.place == place
    assert message in problem.message


# containerd


GRPC, CRI = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
CONTAINERD = """\
version = {version}
# of the node
[plugins]
  [plugins.'{plugin}']
    [plugins.'{plugin}'.containerd]
      default_runtime_name = "{default}"
      [plugins.'{plugin}'.containerd.runtimes]
        [plugins.'{plugin}'.containerd.runtimes.usual]
          runtime_type = "io.containerd.runc.v2"
          privileged_without_host_devices = true
          pod_annotations = ["example.org/*"]
          [plugins.'{plugin}'.containerd.runtimes.usual.options]
            SystemdCgroup = true
            IoUid = 7
            BinaryName = "/usr/bin/usual"
  # the last
  [plugins."io.containerd.internal.v1.opt"]
    path = "/opt/containerd"
"""


@pytest.mark.parametrize(("version", "plugin"), [(2, GRPC), (3, CRI)])
def test_containerd_takes_after_the_default(version: int, plugin: str) -> None:
    text = CONTAINERD.format(version=version, plugin=plugin, default="usual")
    made = containerd.edited(text, RUNTIMES)
    assert without(text, made)
    before, meant = tomllib.loads(text), tomllib.loads(made)
    runtimes = meant["plugins"][plugin]["containerd"]["runtimes"]
    for name, path in RUNTIMES.items():
        assert runtimes.pop(name) == {
            "runtime_type": "io.containerd.runc.v2",
            "privileged_without_host_devices": True,
            "pod_annotations": ["example.org/*", "scmm.*"],
            "container_annotations": ["scmm.*"],
            "options": {"SystemdCgroup": True, "IoUid": 7, "BinaryName": path},
        }
    assert meant == before
    assert containerd.edited(made, RUNTIMES) == made
    assert containerd.entries(made, RUNTIMES) == list(RUNTIMES)
    assert containerd.entries(text, RUNTIMES) == []
    (note,) = containerd.notes(made, RUNTIMES)
    assert "--runc /usr/bin/usual" in note.hint


def test_containerd_takes_after_nothing_that_is_not_the_default() -> None:
    made = containerd.edited(CONTAINERD.format(version=2, plugin=GRPC, default="runc"), {"scmm": "/x"})
    runtimes = tomllib.loads(made)["plugins"][GRPC]["containerd"]["runtimes"]
    assert set(runtimes) == {"usual", "scmm"}
    assert runtimes["scmm"] == {
        "runtime_type": "io.containerd.runc.v2",
        "pod_annotations": ["scmm.*"],
        "container_annotations": ["scmm.*"],
        "options": {"BinaryName": "/x"},
    }
    assert containerd.notes(made, RUNTIMES) == []


@pytest.mark.parametrize("text", [None, "", "# nothing\n"])
def test_containerd_without_settings(text: str | None) -> None:
    made = containerd.edited(text, {"scmm": "/x"})
    meant = tomllib.loads(made)
    assert meant["version"] == 2
    # Its own table of runtimes, which has runc, is not looked at any more.
    assert meant["plugins"][GRPC]["containerd"]["runtimes"]["runc"] == {"runtime_type": "io.containerd.runc.v2"}
    assert containerd.edited(made, {"scmm": "/x"}) == made
    assert containerd.entries(made, {"scmm": "/x"}) == ["scmm"]


def test_containerd_that_has_no_cri_is_told() -> None:
    made = containerd.edited('version = 2\ndisabled_plugins = ["cri"]\n', RUNTIMES)
    assert [note.code for note in containerd.notes(made, RUNTIMES)] == ["cri-disabled"]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("root = '/x'\n", ".version", "is missing, which is 1 to containerd"),
        ("version = 1\n", ".version", "1 is not a version that is known"),
        ("version = true\n", ".version", "True is not"),
        ("version = '2'\n", ".version", "'2' is not"),
        ("version = [2]\n", ".version", "[2] is not"),
        ("version = 2\nplugins = 3\n", ".plugins", "a table is expected"),
        (
            f"version = 3\n[plugins.'{CRI}']\ncontainerd = {{runtimes = {{}}}}\n",
            f'.plugins."{CRI}".containerd.runtimes.runc',
            "table of its own",
        ),
    ],
)
def test_containerd_refuses(text: str, place: str, message: str) -> None:
    first = problems(Kind.CONTAINERD, text)[0]
    assert first.place == place
    assert message in first.message


def test_containerd_names_all_that_are_in_the_way() -> None:
    made = containerd.edited(CONTAINERD.format(version=3, plugin=CRI, default="runc"), RUNTIMES)
    changed = made.replace("/opt/libexec/", "/srv/")
    assert places(Kind.CONTAINERD, changed) == [
        f'.plugins."{CRI}".containerd.runtimes.{name}' for name in ("scmm", "scmm-crun")
    ]


# The table


def test_every_engine_has_its_place() -> None:
    assert set(ENGINES) == set(Kind)
    assert len({engine.config for engine in ENGINES.values()}) == len(Kind)


def test_engines_are_told_of_starters() -> None:
    assert names(Path("/opt/libexec"), ["default", "crun"]) == RUNTIMES
