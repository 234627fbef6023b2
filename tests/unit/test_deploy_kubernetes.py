"""deploy/kubernetes and the snippets in hooks/: right by the API's reference, by each other and by `scmm install`.

The schemas here have those members of the objects that the files use, as the API reference describes them:
RuntimeClass node.k8s.io/v1, DaemonSet apps/v1, Pod and Namespace v1. Any other member is an error, a misspelt one too.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from support import ROOT

from scmm_oci.enforcer.registration import containerd, docker, engines, parts, podman
from scmm_oci.oci import annotations
from scmm_oci.recorder.installation import LIBEXEC_DIR

KUBERNETES = ROOT / "deploy" / "kubernetes"
LABEL = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}  # RFC 1123
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def shape(required: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": properties}


def rows(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


def metadata(required: str = "name") -> dict[str, Any]:
    return shape(required, {"name": LABEL, "namespace": LABEL, "labels": TEXTS, "annotations": TEXTS})


WORDS = rows({"type": "string"})
YES_NO = {"type": "boolean"}
TYPES = ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"]
QUANTITIES = shape("", {name: {"type": "string", "pattern": r"^[0-9]+(m|Ki|Mi|Gi)?$"} for name in ("cpu", "memory")})
CONTAINER = shape(
    "name image",
    {
        "name": LABEL,
        "image": {"type": "string"},
        "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        "command": WORDS,
        "args": WORDS,
        "securityContext": shape(
            "",
            {
                "privileged": YES_NO,
                "allowPrivilegeEscalation": YES_NO,
                "readOnlyRootFilesystem": YES_NO,
                "runAsNonRoot": YES_NO,
                "runAsUser": {"type": "integer", "minimum": 0},
                "capabilities": shape("", {"add": WORDS, "drop": WORDS}),
                "seccompProfile": shape("type", {"type": {"enum": ["RuntimeDefault", "Unconfined", "Localhost"]}}),
            },
        ),
        "resources": shape("", {"requests": QUANTITIES, "limits": QUANTITIES}),
        "volumeMounts": rows(
            shape("name mountPath", {"name": LABEL, "mountPath": {"type": "string"}, "readOnly": YES_NO})
        ),
    },
)
POD = shape(
    "containers",
    {
        "runtimeClassName": LABEL,
        "nodeName": {"type": "string"},
        "nodeSelector": TEXTS,
        "restartPolicy": {"enum": ["Always", "OnFailure", "Never"]},
        "automountServiceAccountToken": YES_NO,
        "hostPID": YES_NO,
        "initContainers": rows(CONTAINER),
        "containers": rows(CONTAINER),
        "volumes": rows(
            shape(
                "name",
                {
                    "name": LABEL,
                    "hostPath": shape("path", {"path": {"type": "string"}, "type": {"enum": TYPES}}),
                    "configMap": shape("name", {"name": LABEL, "optional": YES_NO}),
                },
            )
        ),
    },
)
ROLLING = shape("", {"maxUnavailable": {"type": ["integer", "string"]}, "maxSurge": {"type": ["integer", "string"]}})


def kind(version: str, name: str, members: dict[str, Any], required: str = "") -> dict[str, Any]:
    always = {"apiVersion": {"const": version}, "kind": {"const": name}, "metadata": metadata()}
    return shape(f"apiVersion kind metadata {required}", {**always, **members})


SCHEMAS = {
    "Namespace": kind("v1", "Namespace", {}),
    "Pod": kind("v1", "Pod", {"spec": POD}, "spec"),
    "RuntimeClass": kind(
        "node.k8s.io/v1",
        "RuntimeClass",
        {
            "handler": LABEL,
            "overhead": shape("", {"podFixed": QUANTITIES}),
            "scheduling": shape("", {"nodeSelector": TEXTS, "tolerations": {"type": "array"}}),
        },
        "handler",
    ),
    "DaemonSet": kind(
        "apps/v1",
        "DaemonSet",
        {
            "spec": shape(
                "selector template",
                {
                    "selector": shape("", {"matchLabels": TEXTS}),
                    "updateStrategy": shape(
                        "type", {"type": {"enum": ["RollingUpdate", "OnDelete"]}, "rollingUpdate": ROLLING}
                    ),
                    "template": shape("metadata spec", {"metadata": metadata(""), "spec": POD}),
                },
            )
        },
        "spec",
    ),
}


def documents(name: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(KUBERNETES / name))


def wrong(document: dict[str, Any]) -> list[str]:
    validator = Draft202012Validator(SCHEMAS[document["kind"]])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


FILES = sorted(path.name for path in KUBERNETES.glob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_objects_are_as_the_api_has_them(name: str) -> None:
    for document in documents(name):
        assert wrong(document) == []


def test_all_kinds_are_looked_at() -> None:
    assert {document["kind"] for name in FILES for document in documents(name)} == SCHEMAS.keys()


def test_what_is_misspelt_or_missing_is_found() -> None:
    (good,) = documents("runtimeclass.yaml")
    for change in ({"handler": "Not_A_Label"}, {"handlers": "scmm"}, {"apiVersion": "node.k8s.io/v1beta1"}):
        assert len(wrong({**good, **change})) == 1, change
    assert len(wrong({name: value for name, value in good.items() if name != "handler"})) == 1
    broken = copy.deepcopy(documents("daemonset.yaml")[1])
    broken["spec"]["template"]["spec"]["hostPid"] = broken["spec"]["template"]["spec"].pop("hostPID")
    broken["spec"]["template"]["spec"]["initContainers"][0]["securityContext"]["privileged"] = "yes"
    assert len(wrong(broken)) == 2


def test_the_objects_fit_together_and_what_is_installed() -> None:
    ((runtime_class,), (namespace, daemon_set), (undo,), (pod,)) = map(
        documents, ("runtimeclass.yaml", "daemonset.yaml", "undo.yaml", "pod.yaml")
    )
    assert runtime_class["handler"] == engines.NAME
    assert pod["spec"]["runtimeClassName"] == runtime_class["metadata"]["name"]
    assert set(pod["metadata"]["annotations"]) <= set(annotations.KNOWN)
    template = daemon_set["spec"]["template"]
    assert daemon_set["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    # Pods go to nodes that have been told of the runtime, and to no other.
    assert runtime_class["scheduling"]["nodeSelector"].items() <= template["spec"]["nodeSelector"].items()
    assert namespace["metadata"]["name"] == daemon_set["metadata"]["namespace"] == undo["metadata"]["namespace"]
    for spec, container in (
        (template["spec"], template["spec"]["initContainers"][0]),
        (undo["spec"], undo["spec"]["containers"][0]),
    ):
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
        assert spec["hostPID"] and container["securityContext"]["privileged"]
    (stays,) = template["spec"]["containers"]
    assert "volumeMounts" not in stays and stays["securityContext"]["capabilities"] == {"drop": ["ALL"]}


# The snippets


RUNTIMES = {engines.NAME: str(LIBEXEC_DIR / parts.starter("default"))}


@pytest.mark.parametrize(
    ("name", "edited", "text"),
    [
        ("daemon.json", docker.edited, None),
        ("containers.conf", podman.edited, None),
        ("containerd-2.toml", containerd.edited, "version = 2\n"),
        ("containerd-3.toml", containerd.edited, "version = 3\n"),
    ],
)
def test_snippets_are_what_install_writes(name: str, edited: Any, text: str | None) -> None:
    assert (ROOT / "hooks" / name).read_text() == edited(text, RUNTIMES)


# The node's script. A chroot that is none, and a scmm that is none, write down what they were called for.

CHROOT = """#!/bin/sh
echo "chroot $*" | tr '\\n' ' ' >>"$CALLS"; echo >>"$CALLS"
host=$1
while [ "$1" != --file ]; do [ $# -gt 0 ] || exit 0; shift; done
case ${3-} in
--undo) [ -n "${STAYS-}" ] || rm -f "$host/usr/local/libexec/scmm/scmm-runc"; echo before >"$host$2" ;;
*) mkdir -p "$host/usr/local/libexec/scmm"; : >"$host/usr/local/libexec/scmm/scmm-runc"; echo after >"$host$2" ;;
esac
"""
NSENTER = '#!/bin/sh\necho "nsenter $*" >>"$CALLS"\n'


class Node:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.host = base / "host"
        self.package = base / "package"
        (base / "bin").mkdir()
        for name, text in (("chroot", CHROOT), ("nsenter", NSENTER)):
            (base / "bin" / name).write_text(text)
            (base / "bin" / name).chmod(0o755)
        (self.host / "etc/containerd").mkdir(parents=True)
        (self.host / "etc/containerd/config.toml").write_text("before\n")
        self.build("one")

    def build(self, identity: str) -> None:
        shutil.rmtree(self.package, ignore_errors=True)
        self.package.mkdir()
        (self.package / "id").write_text(f"{identity}\n")

    def run(self, *words: str, **variables: str) -> tuple[int, list[str]]:
        """The exit status, and what was called, without the words for Python."""
        calls = self.base / "calls"
        calls.unlink(missing_ok=True)
        environ = {
            "PATH": f"{self.base / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(calls),
            "HOST": str(self.host),
            "PACKAGE": str(self.package),
            "POLICIES": str(self.base / "policies"),
            **variables,
        }
        done = subprocess.run(
            [KUBERNETES / "node", *words], env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        lines = calls.read_text().splitlines() if calls.exists() else []
        return done.returncode, [line.rpartition("sys.exit(main(sys.argv[1:])) ")[2].strip() for line in lines]

    def packages(self) -> list[str]:
        return sorted(path.name for path in (self.host / "opt/scmm-node").iterdir())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


RESTART = "nsenter --target 1 --mount -- systemctl restart containerd"
INSTALL = "install containerd --file /etc/containerd/config.toml"


def test_a_node_is_installed_and_containerd_restarted_once(node: Node) -> None:
    assert node.run("install") == (0, [f"/opt/scmm-node/one {INSTALL}", RESTART])
    assert node.packages() == ["one"]
    assert node.run("install") == (0, [f"/opt/scmm-node/one {INSTALL}"]), "nothing has changed"


def test_a_restart_that_failed_is_made_up_for(node: Node) -> None:
    (node.base / "bin/nsenter").write_text("#!/bin/sh\nexit 3\n")
    assert node.run("install") == (3, [f"/opt/scmm-node/one {INSTALL}"])
    (node.base / "bin/nsenter").write_text(NSENTER)
    assert node.run("install") == (0, [f"/opt/scmm-node/one {INSTALL}", RESTART])
    assert node.run("install") == (0, [f"/opt/scmm-node/one {INSTALL}"])


def test_a_newer_build_takes_the_place_of_the_older(node: Node) -> None:
    node.run("install")
    node.build("two")
    assert node.run("install") == (0, [f"/opt/scmm-node/two {INSTALL}"])
    assert node.packages() == ["two"]


def test_a_node_is_undone(node: Node) -> None:
    # Where the README puts what is installed by hand.
    own = node.host / "opt/scmm/bin/scmm"
    own.parent.mkdir(parents=True)
    own.touch()
    node.run("install")
    assert node.run("undo") == (0, [f"/opt/scmm-node/one {INSTALL} --undo", RESTART])
    assert not (node.host / "opt/scmm-node").exists() and own.exists()


def test_the_package_stays_for_containers_that_run(node: Node) -> None:
    node.run("install")
    assert node.run("undo", STAYS="yes")[0] == 0
    assert node.packages() == ["one"]


def test_policies_are_there_before_the_runtime(node: Node) -> None:
    (node.base / "policies").mkdir()
    for name in ("web.scmm-pol", "a b.scmm-pol", "README"):
        (node.base / "policies" / name).write_text(name)
    status, calls = node.run("install")
    assert (status, calls) == (
        0,
        [
            "/opt/scmm-node/one policy add a b /opt/scmm-node/policy --replace",
            "/opt/scmm-node/one policy add web /opt/scmm-node/policy --replace",
            f"/opt/scmm-node/one {INSTALL}",
            RESTART,
        ],
    )
    assert node.packages() == ["one"]


def test_a_node_that_has_things_elsewhere(node: Node) -> None:
    (node.host / "k3s").mkdir()
    status, calls = node.run("install", CONTAINERD_CONFIG="/k3s/config.toml", RESTART="systemctl restart k3s")
    assert status == 0
    assert calls == [
        "/opt/scmm-node/one install containerd --file /k3s/config.toml",
        "nsenter --target 1 --mount -- systemctl restart k3s",
    ]


def test_a_failure_ends_it_and_keeps_what_was_there(node: Node) -> None:
    node.run("install")
    node.build("two")
    (node.base / "bin/chroot").write_text("#!/bin/sh\nexit 2\n")
    assert node.run("install") == (2, [])
    assert node.packages() == ["one", "two"], "the starter runs the older"
    assert node.run("neither")[0] == 2
