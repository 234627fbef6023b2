"""scmm-runc on raw bundles, over runc and crun: each against the same under the runtime itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shims import Shims, make_shims
from support import need

from rig import images, namespace
from rig.mounts import private_dir
from rig.runc import Bundle, available

RUN = ("execute", "read_file")
#: Calls stay open: what these tests look at are files.
POLICY = {
    "version": "1.0",
    "settings": {"default_action": "allow"},
    "filesystem": {
        "rules": [
            {"path": "/bin", "access": list(RUN)},
            {"path": "/tmp", "access": ["make_reg", "write_file", "read_file", "truncate"]},
            {"path": "/dev/null", "access": ["write_file"]},
            {"path": "/proc", "access": ["read_file", "read_dir"]},
        ]
    },
    "network": {"inbound": [{"protocol": "udp"}], "outbound": [{"protocol": "udp"}]},
}
SCRIPT = """
cat /etc/passwd >/dev/null 2>&1 && echo passwd read || echo passwd refused
mkdir /made 2>/dev/null && rmdir /made && echo made in / || echo nothing in /
echo $0 $# ${SCMM_POLICY-unset} ${SCMM_MODE-unset}
exit 7
"""
FREE = ["passwd read", "made in /", "sh 0 unset unset"]
HELD = ["passwd refused", "nothing in /", "sh 0 unset unset"]
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def shims(inside: namespace.Entered) -> Iterator[Shims]:
    need("KERNEL", available("runc") or images.busybox_unavailable())
    with private_dir("shim") as base:
        made = make_shims(base)
        made.add("files", POLICY)
        yield made


@pytest.fixture(params=["runc", "crun"])
def both(request: pytest.FixtureRequest, shims: Shims) -> tuple[str, Path]:
    """A runtime, and the shim over it."""
    if request.param == "crun":
        need("CRUN", available("crun"))
    return request.param, getattr(shims, request.param)


def asks(**annotations: str) -> Edit:
    return lambda config: config.setdefault("annotations", {}).update(
        {f"scmm.{name}": value for name, value in annotations.items()}
    )


def script(*edits: Edit, text: str = SCRIPT) -> Edit:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["args"] = ["sh", "-c", text]
        for each in edits:
            each(config)

    return edit


def bundle(runtime: Path | str, *edits: Edit, text: str = SCRIPT, **more: Any) -> Bundle:
    return Bundle(images.busybox(), runtime=str(runtime), edit=script(*edits, text=text), **more)


def test_what_asks_for_nothing_is_the_runtimes_own(both: tuple[str, Path], shims: Shims) -> None:
    outcomes = []
    for runtime in both:
        with bundle(runtime) as one:
            done = one.run(check=False)
            outcomes.append((done.returncode, done.stdout.splitlines(), done.stderr))
    assert outcomes == [(7, FREE, "")] * 2
    assert shims.kept() == []


def test_a_policy_holds(both: tuple[str, Path], shims: Shims) -> None:
    plain, shim = both
    with bundle(shim, asks(policy="files")) as one:
        done = one.run(check=False)
        before = (one.directory / "config.json").read_bytes()
        assert (done.returncode, done.stdout.splitlines()) == (7, HELD), done.stderr
        assert (one.directory / "config.json").read_bytes() == before
    assert shims.kept() == []
    with bundle(plain, asks(policy="files")) as one:  # the control: it is the shim that does it
        assert one.run(check=False).stdout.splitlines() == FREE
