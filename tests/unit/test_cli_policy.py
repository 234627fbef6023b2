"""`scmm policy`: what it prints and refuses, and that a confined `add` still writes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from scmm_oci.cli.main import main
from scmm_oci.kernel import landlock

POLICY = """\
version: "1.0"
metadata: {name: web}
syscalls: [{names: [read, write, execve, exit_group, rt_sigreturn], action: allow}]
"""


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("web.scmm.yaml").write_text(POLICY)
    Path("other.scmm.yaml").write_text(POLICY.replace("write", "openat"))
    for each in ("web", "other"):
        assert main(["compile", "-i", f"{each}.scmm.yaml", "-o", f"{each}.scmm-pol", "--no-validate"]) == 0
    return tmp_path


def digest(path: str) -> str:
    return f"sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"


def policy(*words: str) -> int:
    return main(["policy", words[0], "--store", "store", *words[1:]])


def told(capsys) -> tuple[str, list[str]]:
    out, err = capsys.readouterr()
    return out, err.splitlines()


def test_added_listed_and_removed(work, capsys):
    capsys.readouterr()
    assert policy("add", "web", "web.scmm-pol") == 0
    assert told(capsys) == (f"web@{digest('web.scmm-pol')}\n", [])
    assert policy("add", "api", "other.scmm-pol") == 0
    capsys.readouterr()
    assert policy("list") == 0
    out, err = told(capsys)
    header, first, second = (line.split() for line in out.splitlines())
    size = str(Path("web.scmm-pol").stat().st_size)
    assert (header, second, err) == (["policy", "bytes", "digest"], ["web", size, digest("web.scmm-pol")], [])
    assert first[0] == "api"
    assert policy("remove", "web", "api") == 0
    assert told(capsys) == ("", ["removed web", "removed api"])
    assert policy("list") == 0
    assert told(capsys) == ("", [f"there are no policies in {work}/store: `scmm policy add` puts one there"])


@pytest.mark.parametrize(("here", "told_of"), [(0, "has no Landlock"), (3, "has Landlock's ABI 3"), (99, None)])
def test_what_this_kernel_cannot_hold_is_told(work, capsys, monkeypatch, here, told_of):
    monkeypatch.setattr(landlock, "abi", lambda: here)
    rules = "filesystem: {rules: [{path: /srv, access: [read_file]}]}\n"
    Path("files.scmm.yaml").write_text(POLICY + rules)
    assert main(["compile", "-i", "files.scmm.yaml", "-o", "files.scmm-pol", "--no-validate"]) == 0
    capsys.readouterr()
    assert policy("add", "files", "files.scmm-pol") == 0
    out, err = told(capsys)
    assert out == f"files@{digest('files.scmm-pol')}\n"
    assert [line.partition(":")[0] for line in err] == (
        []
        if told_of is None
        else [
            "note",
            "  `scmm enforce -p files.scmm-pol --check` tells which; with scmm.mode=strict no container starts",
        ]
    )
    assert told_of is None or f"this kernel {told_of}, and the policy has rights of ABI" in err[0]


@pytest.mark.parametrize(
    ("rules", "here", "may"),
    [
        ("", 7, ""),
        ("  - {name: mount, action: allow}\n", 7, "mount: it has no rules for files"),
        ("  - {name: umount2, action: log}\n  - {name: pivot_root, action: deny}\n", 7, "umount2: it has"),
        (
            '  - {name: mount, action: allow, constraints: [{arg: "3", type: flags, allowed: ["4096"]}]}\n',
            7,
            "mount: it has",
        ),
        ("  - {name: mount, action: allow}\nfilesystem: {rules: [{path: /srv, access: [read_file]}]}\n", 7, ""),
        (
            "  - {name: mount, action: allow}\nfilesystem: {rules: [{path: /srv, access: [read_file]}]}\n",
            0,
            "mount: without Landlock, files are not held",
        ),
        (
            "  - {name: sethostname, action: deny}\nsettings: {default_action: allow}\n",
            7,
            "mount, move_mount, pivot_root, umount2: it has",
        ),
    ],
)
def test_who_could_take_the_launcher_away_is_told(work, capsys, monkeypatch, rules, here, may):
    monkeypatch.setattr(landlock, "abi", lambda: here)
    own = POLICY.replace("[{names", "\n  - {names").replace("allow}]", "allow}")
    Path("mounts.scmm.yaml").write_text(own + rules)
    assert main(["compile", "-i", "mounts.scmm.yaml", "-o", "mounts.scmm-pol", "--no-validate"]) == 0
    capsys.readouterr()
    assert policy("add", "mounts", "mounts.scmm-pol") == 0
    notes = [line for line in told(capsys)[1] if "programs under this policy may call" in line]
    assert len(notes) == bool(may)
    assert not may or f"note: programs under this policy may call {may}" in notes[0]


@pytest.mark.parametrize("action", ["notify", "deny"])
def test_a_policy_that_asks_is_told_to_need_a_monitor(work, capsys, action):
    own = POLICY.replace("allow}]", f"allow}}, {{names: [mkdir], action: {action}}}]")
    Path("asking.scmm.yaml").write_text(own)
    assert main(["compile", "-i", "asking.scmm.yaml", "-o", "asking.scmm-pol", "--no-validate"]) == 0
    capsys.readouterr()
    assert policy("add", "asking", "asking.scmm-pol") == 0
    notes = [line for line in told(capsys)[1] if "only where scmm-monitor listens" in line]
    assert len(notes) == (action == "notify")


def test_list_tells_programs_all_and_ends_with_one_for_what_cannot_be_used(work, capsys):
    assert policy("list", "--json") == 0  # no store is no error
    policy("add", "web", "web.scmm-pol")
    policy("add", "bad", "other.scmm-pol")
    Path("store/bad.scmm-pol").chmod(0o666)
    Path("store/no\ttes").write_text("")
    capsys.readouterr()
    assert policy("list", "--json") == 1
    problem = f"{work}/store/bad.scmm-pol can be written by others (mode 0666): chmod go-w"
    assert json.loads(told(capsys)[0]) == {
        "store": f"{work}/store",
        "policies": [
            {"name": "bad", "digest": None, "size": None, "problems": [problem]},
            {
                "name": "web",
                "digest": digest("web.scmm-pol"),
                "size": Path("web.scmm-pol").stat().st_size,
                "problems": [],
            },
        ],
        "strangers": ["no\ttes"],
    }
    assert policy("list") == 1
    out, err = told(capsys)
    assert "(mode 0666)" in out
    assert err == [f"note: {work}/store/no\\ttes is no policy by its name, and is not used"]


def test_a_name_keeps_its_policy_unless_told_otherwise(work, capsys):
    policy("add", "web", "web.scmm-pol")
    assert policy("add", "web", "web.scmm-pol") == 0
    capsys.readouterr()
    assert policy("add", "web", "other.scmm-pol") == 2
    assert told(capsys) == (
        "",
        [f"error: there is another policy web ({digest('web.scmm-pol')}); --replace takes its place"],
    )
    assert policy("add", "web", "other.scmm-pol", "--replace") == 0
    assert told(capsys)[0] == f"web@{digest('other.scmm-pol')}\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["../web", "web.scmm-pol"], "'../web' is no name of a policy"),
        (["web", "none.scmm-pol"], "none.scmm-pol: cannot be read: No such file or directory"),
        (["web", "web.scmm.yaml"], "web.scmm.yaml: is a policy, not a compiled policy (`scmm compile -i POLICY -o web"),
        (["web", "notes"], "notes: is not a compiled policy (`scmm compile"),
        (["web", "cut.scmm-pol"], "cut.scmm-pol: "),
        (["web", "longer.scmm-pol"], "longer.scmm-pol: "),
    ],
)
def test_what_is_no_policy_is_not_added(work, capsys, words, error):
    data = Path("web.scmm-pol").read_bytes()
    Path("notes").write_text("hello\n")
    Path("cut.scmm-pol").write_bytes(data[:-8])
    # Whole by its frame, and with a section that the reader does not know: what the store alone would take.
    content = b"\x63" + data[65:]
    Path("longer.scmm-pol").write_bytes(data[:32] + hashlib.sha256(content).digest() + content)
    capsys.readouterr()
    assert policy("add", *words) == 2
    out, err = told(capsys)
    assert out == "" and err[0].startswith(f"error: {error}")
    assert not Path("store").exists() or os.listdir("store") == []


def test_what_is_not_there_is_told_of_all_names(work, capsys):
    policy("add", "web", "web.scmm-pol")
    capsys.readouterr()
    assert policy("remove", "webb", "web", "a/b") == 2
    assert told(capsys)[1] == [
        "removed web",
        f"error: there is no policy webb in {work}/store (did you mean 'web'?)",
        "error: 'a/b' is no name of a policy: 1 to 128 letters, digits, '_', '.', '-', beginning with a "
        "letter, a digit or '_'",
    ]


def test_a_store_that_others_can_write_is_told(work, capsys):
    Path("store").mkdir()
    Path("store").chmod(0o777)
    capsys.readouterr()
    for words in (["add", "web", "web.scmm-pol"], ["list"], ["remove", "web"]):
        assert policy(*words) == 2
        (line,) = told(capsys)[1]
        assert line == (
            f"error: the policy store cannot be used: {work}/store can be written by others (mode 0777): chmod go-w"
        )


def test_the_store_is_where_the_settings_say(work, capsys):
    config = work / "config.yaml"
    config.write_text(f"shim: {{policy_dir: {work}/elsewhere}}\n")
    assert main(["policy", "add", "--config", str(config), "web", "web.scmm-pol"]) == 0
    assert os.listdir("elsewhere") == ["web.scmm-pol"]
    config.write_text("shim: {policy_dir: 7}\n")
    capsys.readouterr()
    assert main(["policy", "list", "--config", str(config)]) == 2
    assert told(capsys)[1] == [f"error: {config}: .shim.policy_dir: a path expected"]


def test_the_command_is_confined_and_does_its_work(work):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    for words in (
        ["add", "web", "web.scmm-pol"],
        ["add", "web", "other.scmm-pol", "--replace"],
        ["list"],
        ["remove", "web"],
    ):
        argv = [sys.executable, "-m", "scmm_oci.cli.main", "policy", words[0], "--store", "deep/store", *words[1:]]
        done = subprocess.run(argv, env=environ, text=True, capture_output=True, timeout=60, check=False)
        assert (done.returncode, "not confined" in done.stderr) == (0, False), done.stderr
        if words == ["list"]:
            assert digest("other.scmm-pol") in done.stdout
    assert os.listdir("deep/store") == []
