"""What the shim is set to: all that is wrong with it at once, and a runtime that is never the shim itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scmm_oci.enforcer import shim_settings
from scmm_oci.enforcer.shim_settings import check, read, runtime
from scmm_oci.oci.annotations import parse_policy
from scmm_oci.settings_file import BadSettings

GIVEN = {"runtimes": {"default": "/usr/bin/runc"}}
HEX = "0123456789abcdef" * 4


def problems(document) -> list[str]:
    with pytest.raises(BadSettings) as raised:
        check(document)
    return raised.value.problems


def test_what_is_left_out_has_a_default():
    found = check(GIVEN)
    assert (found.policy_dir, found.run_dir) == ("/var/lib/scmm/policies", "/run/scmm/containers")
    assert (found.images, found.runtimes) == ([], {"default": "/usr/bin/runc"})
    assert found.launcher == "/usr/local/libexec/scmm/scmm-enforce"


def test_settings_become_what_they_were(tmp_path):
    images = [
        {"image": "*/nginx:*", "policy": "web", "mode": "strict"},
        {"image": "busybox", "policy": f"tools@sha256:{HEX}"},
    ]
    path = tmp_path / "shim.json"
    path.write_text(json.dumps({**GIVEN, "images": images, "log_file": "/x/log"}))
    found = read(str(path))
    assert [(each.image, each.policy, each.digest, each.mode) for each in found.images] == [
        ("*/nginx:*", "web", None, "strict"),
        ("busybox", "tools", HEX, "standard"),
    ]
    assert check(found.as_dict()).as_dict() == found.as_dict()
    assert (found.as_dict()["images"][1]["policy"], found.log_file) == (f"tools@sha256:{HEX}", "/x/log")


def test_all_that_is_wrong_is_told():
    assert problems([]) == ["an object of settings expected"]
    assert problems({}) == ['.runtimes: an object of names and paths expected, with "default" among them']
    found = problems(
        {
            "colour": 1,
            "run_dir": "run",
            "log_file": "/a/../b",
            "policy_dir": "//a",
            "hook": 7,
            "runtimes": {"default": "runc", "a/b": "/x", "c": None},
            "images": [
                7,
                {"image": "x"},
                {"image": "x", "policy": "../x", "mode": "loose", "tag": ""},
                {"image": "", "policy": f"x@{HEX}"},
            ],
        }
    )
    assert [each.partition(":")[0] for each in found] == [
        *(".colour", ".hook", ".policy_dir", ".run_dir", ".log_file"),
        *(".runtimes.default", ".runtimes", ".runtimes.c"),
        *(".images[0]", ".images[1].policy", ".images[2].tag", ".images[2].mode", ".images[2].policy"),
        ".images[3].image",
    ]
    assert problems({**GIVEN, "images": {}}) == [".images: a list expected"]


def test_a_monitor_listens_where_a_socket_can_be():
    assert check({**GIVEN, "monitor": f"/{'x' * 106}"}).monitor == f"/{'x' * 106}"
    for path in (f"/{'x' * 107}", "/" + "\N{EURO SIGN}" * 36):
        assert problems({**GIVEN, "monitor": path}) == [
            ".monitor: longer than the 107 bytes that a socket's path may have"
        ]
    assert len(problems({**GIVEN, "monitor": "run/sock"})) == 1


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    path = tmp_path / "shim.json"
    for text, told in (("{", "shim.json"), ('{"x": 1}', ".x: no such setting"), (" " * ((1 << 20) + 1), "larger than")):
        path.write_text(text)
        with pytest.raises(BadSettings) as raised:
            read(str(path))
        assert all(each.startswith(f"{path}: ") for each in raised.value.problems)
        assert told in str(raised.value)
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("web", ("web", None)),
        (f"web@sha256:{HEX}", ("web", HEX)),
        (f"web@sha256:{HEX.upper()}", ("web", HEX)),
        ("a.b_c-1", ("a.b_c-1", None)),
    ],
)
def test_a_policy_is_named_with_or_without_its_digest(text, found):
    assert parse_policy(text) == found


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 1), ("a/b", 1), ("web@", 1), (f"web@{HEX}", 1), (f"web@sha256:{HEX}0", 1), (f"a/b@sha256:{HEX}0", 2)],
)
def test_what_names_no_policy_is_refused(text, count):
    with pytest.raises(ValueError, match=r"name is|expected") as raised:
        parse_policy(text)
    assert len(str(raised.value).split("; ")) == count


# The runtime to become


def program(path: Path, text: str = "#!/bin/sh\nexit 0\n") -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_the_runtime_is_of_the_name(tmp_path):
    runc, crun = program(tmp_path / "runc"), program(tmp_path / "crun")
    found = check({"runtimes": {"default": runc, "crun": crun}})
    assert runtime(found, "scmm-runc") == runtime(found, "/usr/local/libexec/scmm/scmm-runc") == runc
    assert runtime(found, "scmm-crun") == crun
    for called in ("scmm-youki", "", "/x/scmm-runc/"):
        with pytest.raises(ValueError, match=r"no runtime is set for .*known: scmm-crun, scmm-runc"):
            runtime(found, called)
    own = check({"runtimes": {"default": crun, "runc": runc}})
    assert runtime(own, "scmm-runc") == runc


@pytest.mark.parametrize("how", ["gone", "plain", "directory"])
def test_a_runtime_that_is_none_is_told(tmp_path, how):
    path = tmp_path / "runc"
    if how == "plain":
        path.write_text("#!/bin/sh\n")
    elif how == "directory":
        path.mkdir()
    told = "is not there" if how == "gone" else "is no program"
    with pytest.raises(ValueError, match=f"^the runtime {path} {told}; run scmm install again once it is$"):
        runtime(check({"runtimes": {"default": str(path)}}), "scmm-runc")


def test_the_shim_never_becomes_itself(tmp_path):
    starter = program(tmp_path / "scmm-runc")
    (tmp_path / "link").symlink_to(starter)
    os.link(starter, tmp_path / "same")
    copy = program(tmp_path / "copy", f"#!/bin/sh\nexec python3 -c 'from {shim_settings.MARK.decode()} import main'\n")
    for path, called in ((starter, starter), (tmp_path / "link", starter), (tmp_path / "same", starter), (copy, "x")):
        found = check({"runtimes": {"default": str(path), "x": str(path)}})
        with pytest.raises(ValueError, match="is scmm-runc itself"):
            runtime(found, called)
    # The controls: another script, and a program that has the word in it but is no script.
    other = program(tmp_path / "other")
    assert runtime(check({"runtimes": {"default": other}}), starter) == other
    binary = program(tmp_path / "binary", "\x7fELF" + shim_settings.MARK.decode())
    assert runtime(check({"runtimes": {"default": binary}}), starter) == binary


def test_the_starter_is_known_as_ours():
    text = Path(__file__).resolve().parents[2].joinpath("hooks/scmm-runc.in").read_bytes()
    assert shim_settings.is_starter(text[: shim_settings.BEGINNING])
