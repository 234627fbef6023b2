"""Policies for images by name: what Docker and podman tell the shim of an image, where nobody asks for more."""

from __future__ import annotations

import pytest
from shims import make_shims
from support import need
from test_shim_bundles import FREE, HELD, POLICY, SCRIPT

from rig import images, namespace
from rig.docker import Dockerd
from rig.engine import Engine
from rig.mounts import private_dir
from rig.podman import Podman

# No variable asks for anything here.
UNSET = SCRIPT.replace("${SCMM_POLICY-unset}", "unset")


@pytest.mark.parametrize("kind", ["podman", "docker"])
def test_a_policy_for_an_image(kind: str, inside: namespace.Entered) -> None:
    need("KERNEL", images.busybox_unavailable())
    need(kind.upper(), Podman.available("runc") if kind == "podman" else Dockerd.available())
    with private_dir("shim") as base:
        shims = make_shims(base, images=[{"image": "localhost/held:*", "policy": "files"}])
        shims.add("files", POLICY)
        engine: Engine
        if kind == "podman":
            engine = Podman(runtime="scmm", runtimes={"scmm": shims.runc})
        else:
            engine = Dockerd(runtimes={"scmm": shims.runc}, default_runtime="scmm")
        with engine:
            for name, expected in (("held", HELD), ("free", FREE)):
                image = engine.import_image(name, images.busybox())
                done = engine.run("--rm", image, "sh", "-c", UNSET, check=False)
                assert (done.returncode, done.stdout.splitlines()) == (7, expected), done.stderr
        assert shims.kept() == []
        assert shims.log() == ""
