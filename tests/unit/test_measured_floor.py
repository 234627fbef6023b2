"""`scmm compile` and `scmm extract` with `--measured-floor`: what was measured here is covered, and only when asked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from samples import as_bytes, nginx

from scmm_oci.cli.main import main
from scmm_oci.errors import BadInput
from scmm_oci.oci.seccomp import parse
from scmm_oci.tables import measured
from scmm_oci.tables.floor import Verb, any_program, floor
from scmm_oci.tables.measured import Measured, Row

POLICY = "version: '1.0'\nsyscalls:\n  - name: read\n    action: allow\n"
ALL = tuple((verb, nnp) for verb in Verb for nnp in (False, True))


def of(runtime: str, version: str | None, names: set[str], ways=ALL, digest: str = "ab") -> Measured:
    rows = tuple(Row(verb, nnp, 20, frozenset(names)) for verb, nnp in ways)
    return Measured(digest * 32, runtime, version, "x86_64", rows)


def keep(directory: Path, *found: Measured) -> str:
    directory.mkdir(exist_ok=True)
    for one in found:
        Path(measured.path_of(one.digest, directory=str(directory))).write_bytes(measured.to_json(one))
    return str(directory)


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.scmm.yaml").write_text(POLICY)
    (tmp_path / "nginx.scmm-cap").write_bytes(as_bytes(nginx()))
    return tmp_path


def compiled(*words: str) -> set[str]:
    assert main(["compile", "-i", "p.scmm.yaml", "--oci", "out.json", "--no-validate", *words]) == 0
    return allowed("out.json")


def allowed(path: str) -> set[str]:
    profile = parse(Path(path).read_bytes())
    return {name for rule in profile.syscalls if rule.action == "SCMP_ACT_ALLOW" for name in rule.names}


# What floors of several runtimes come to


def test_of_a_known_runtime_the_table_of_its_version_is_taken_too():
    found = measured.together([of("runc", "1.1.5", {"swapon"})], False)
    assert found.names == floor("runc", "1.1.5", False).names | {"swapon"}
    assert found.names < floor("runc", None, False).names | {"swapon"}
    assert found.entries_used == (*floor("runc", "1.1.5", False).entries_used, "measured-abababababab")
    assert found.findings == ()


def test_with_no_new_privileges_what_was_measured_without_is_not_taken():
    on = of("crun", "1.8.1", {"swapon"}, [(verb, True) for verb in Verb])
    both = on.joined(of("crun", "1.8.1", {"swapoff"}, [(verb, False) for verb in Verb]))
    assert measured.together([both], True).names == floor("crun", "1.8.1", True).names | {"swapon"}
    assert measured.together([both], False).names == floor("crun", "1.8.1", False).names | {"swapon", "swapoff"}


def test_of_an_unknown_runtime_just_what_was_measured_is_taken_if_that_is_all():
    found = measured.together([of("youki", "0.3", {"close", "execve"})], False)
    assert found.names == any_program().names | {"close", "execve"} and found.findings == ()
    less = measured.together([of("youki", "0.3", {"swapon"}, ALL[:2])], False)
    assert less.names == floor(None, None, False).names | {"swapon"}
    (finding,) = less.findings
    assert finding.code == "measured-partly" and "youki was not measured in create and exec" in finding.message


def test_several_are_the_union():
    one, other = of("runc", "1.1.5", {"swapon"}), of("crun", "1.8.1", {"swapoff"}, digest="cd")
    assert measured.together([one, other], False).names == (
        floor("runc", "1.1.5", False).names | floor("crun", "1.8.1", False).names | {"swapon", "swapoff"}
    )


# Directories


def test_what_is_in_a_directory(tmp_path):
    one, other = of("runc", "1.1.5", {"swapon"}), of("crun", None, {"swapoff"}, digest="cd")
    directory = keep(tmp_path / "d", other, one)
    (tmp_path / "d" / "README").write_text("not read")
    assert measured.read_all(directory) == (one, other)
    assert measured.of_runtime((one, other), "crun") == (other,)
    assert measured.of_runtime((one, other), None) == (one, other)
    with pytest.raises(BadInput, match=r"nothing was measured of 'youki'.*'crun', 'runc'"):
        measured.of_runtime((one, other), "youki")


def test_all_that_is_wrong_with_a_directory_is_told(tmp_path):
    directory = keep(tmp_path / "d", of("runc", None, {"close"}))
    good = Path(directory, "ab" * 32 + ".json")
    (tmp_path / "d" / ("cd" * 32 + ".json")).write_bytes(good.read_bytes())
    (tmp_path / "d" / ("ef" * 32 + ".json")).write_text("[]")
    with pytest.raises(BadInput) as caught:
        measured.read_all(directory)
    assert [one.place[64:] for one in caught.value.problems] == [".json.sha256", ".json.format"]
    for wrong in ("gone", "empty", "file"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "file").write_text("")
        with pytest.raises(BadInput, match="--measure-floor"):
            measured.read_all(str(tmp_path / wrong))


# The command line


def test_a_profile_covers_what_was_measured_only_when_asked(work, capsys):
    keep(work / "d", of("runc", "1.1.5", {"swapon"}), of("crun", "1.8.1", {"swapoff"}, digest="cd"))
    usual = compiled()
    assert not usual & {"swapon", "swapoff"}
    capsys.readouterr()
    found = compiled("--measured-floor", "d", "--json")
    out, err = capsys.readouterr()
    assert found & {"swapon", "swapoff"} == {"swapon", "swapoff"} and "openat2" in usual - found
    assert "measured-abababababab" in json.loads(out)["floor_entries"]
    ways = "run 20×, run nnp 20×, create 20×, create nnp 20×, exec 20×, exec nnp 20×"
    assert err.splitlines()[:2] == [
        f"floor: runc 1.1.5, measured (abababababab): {ways}",
        f"floor: crun 1.8.1, measured (cdcdcdcdcdcd): {ways}",
    ]
    assert compiled("--measured-floor", "d", "--runtime", "crun") & {"swapon", "swapoff"} == {"swapoff"}
    first = Path("out.json").read_bytes()
    compiled("--measured-floor=d", "--runtime=crun")
    assert Path("out.json").read_bytes() == first


def test_nothing_measured_is_bad_input(work, capsys):
    keep(work / "d", of("crun", "1.8.1", {"swapoff"}))
    words = ["compile", "-i", "p.scmm.yaml", "--oci", "out.json"]
    assert main([*words, "--measured-floor", "d", "--runtime", "runc"]) == 2
    assert "d: nothing was measured of 'runc' (measured: 'crun'" in capsys.readouterr().err
    assert main([*words, "--measured-floor", "gone"]) == 2 and not os.path.lexists("out.json")
    assert "gone: cannot be read: No such file or directory" in capsys.readouterr().err


def test_extract_takes_what_was_measured_of_the_recorded_runtime(work, capsys):
    keep(work / "d", of("runc", "1.1.5", {"swapon"}), of("crun", "1.8.1", {"swapoff"}, digest="cd"))
    words = ["extract", "-i", "nginx.scmm-cap", "--non-interactive", "--oci", "out.json"]
    assert main(words) == 0
    assert not allowed("out.json") & {"swapon", "swapoff"}
    assert main([*words, "--measured-floor=d"]) == 0
    recorded = nginx()["runtime"]["name"]
    mine = {"runc": {"swapon"}, "crun": {"swapoff"}}[recorded]
    assert allowed("out.json") & {"swapon", "swapoff"} == mine
    assert f"floor: {recorded} " in capsys.readouterr().err
