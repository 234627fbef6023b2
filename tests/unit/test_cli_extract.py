"""scmm extract from the outside: what is written, printed and returned. Goldens are rewritten with SCMM_GOLDEN=1."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from interviewed import RICH
from samples import NGINX, app, as_bytes, call, file_use, nginx

from scmm_oci.cli.main import VERBS, extract, main
from scmm_oci.oci.seccomp import parse
from scmm_oci.policy.document import read as read_policy

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A directory to stand in, with the capture nginx.scmm-cap."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nginx.scmm-cap").write_bytes(as_bytes(NGINX))
    return tmp_path


def allowed(path):
    profile = parse(path.read_bytes())
    return {name for rule in profile.syscalls if rule.action == "SCMP_ACT_ALLOW" for name in rule.names}


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("nginx", []),
        ("nginx-crun-nnp", ["--runtime", "crun", "--no-new-privileges"]),
        ("nginx-all-enosys", ["--runtime", "all", "--default-errno", "ENOSYS", "--name", "web"]),
    ],
)
def test_golden(work, case, options):
    command = ["-i", "nginx.scmm-cap", "-o", "out.scmm.yaml", "--oci", "out.json", "--non-interactive", *options]
    assert extract(command) == 0
    for suffix in ("scmm.yaml", "json"):
        written, golden = (work / f"out.{suffix}").read_bytes(), GOLDEN / f"{case}.{suffix}"
        if os.environ.get("SCMM_GOLDEN"):
            golden.write_bytes(written)
        assert written == golden.read_bytes()


def test_what_is_said(work, capsys):
    assert main(["extract", "-i", "nginx.scmm-cap", "-o", "p.yaml", "--oci", "p.json"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[:5] == [
        "p.yaml and p.json: 8 calls for the program, 36 more for the runtime",
        "calls: 8 allow, 1 deny",
        "calls whose arguments are checked: 1",
        "file rules: 6 exact paths",
        "network rules: inbound tcp 80",
    ]
    # Then patterns, and findings after everything.
    assert lines[5] == "patterns not taken, as they would open a protected place:"
    assert lines[6].startswith("  --accept '/run/**': make_reg for /run and everything beneath it")
    notes = [line for line in lines if line.startswith("note: ")]
    assert lines[-len(notes) :] == notes
    assert notes[:3] == [
        "note: the runtime was seen to call sysinfo, which our table of its needs lacks: allowed too; "
        "is that what a runtime does? [recorded-floor]",
        "note: a filter that was there already refused keyctl (EPERM, 1×): it is not allowed; "
        "to allow it, record with --security-opt seccomp=unconfined [denied-by-engine]",
        "note: a filter of the engine refused personality (1×) and let it pass otherwise; "
        "that filter looks at its arguments [partly-denied]",
    ]
    assert len(allowed(work / "p.json")) == 8 + 36


def test_json(work, capsys):
    assert extract(["-i", "nginx.scmm-cap", "--oci", "p.json", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["program"], result["floor"], result["policy"], result["profile"]) == (8, 36, None, "p.json")
    assert result["floor_entries"] == ["any-program", "runc-start", "runc-exec", "go-runtime", "recorded"]
    codes = [finding["code"] for finding in result["findings"]]
    assert codes[:3] == ["recorded-floor", "denied-by-engine", "partly-denied"]
    assert result["calls"] == {"allow": 8, "deny": 1}
    assert [one["pattern"] for one in result["waiting"]] == ["/run/**"]
    assert [one["pattern"] for one in result["proposals"]] == ["/var/log/nginx/**"]
    assert result["proposals"][0]["automatic"] is False
    assert result["network"][0]["ports"] == ["80"]
    assert result["flags"] == []
    assert not (work / "p.yaml").exists()


@pytest.mark.parametrize(
    ("options", "there", "not_there"),
    [
        # sysinfo is what this recording saw of runc beyond the table.
        ([], {"getcwd", "sysinfo", "futex", "capset"}, {"pselect6", "openat2"}),
        (["--runtime", "runc"], {"sysinfo", "futex", "capset", "openat2"}, {"pselect6"}),
        (["--runtime", "crun"], {"capset", "pselect6"}, {"sysinfo", "futex", "openat2"}),
        (["--runtime", "all"], {"sysinfo", "futex", "pselect6", "openat2"}, set()),
        (["--no-new-privileges"], {"futex", "epoll_ctl"}, {"capset", "sysinfo"}),
    ],
)
def test_whose_floor(work, options, there, not_there):
    assert extract(["-i", "nginx.scmm-cap", "--oci", "p.json", *options]) == 0
    names = allowed(work / "p.json")
    assert there <= names
    assert not not_there & names


def test_a_recording_with_no_new_privileges_adds_to_the_small_floor(work):
    container = {**NGINX["container"], "no_new_privileges": True}
    (work / "nnp.scmm-cap").write_bytes(as_bytes(nginx(container=container)))
    assert extract(["-i", "nnp.scmm-cap", "--oci", "p.json", "--no-new-privileges"]) == 0
    assert "sysinfo" in allowed(work / "p.json")


def test_several_captures_add_up_in_any_order(work):
    (work / "b.scmm-cap").write_bytes(as_bytes(app(call("brk"), name="b", runtime={"name": "crun", "version": None})))
    both = ["-i", "nginx.scmm-cap", "-i", "b.scmm-cap"]
    assert extract([*both, "-o", "1.yaml", "--oci", "1.json"]) == 0
    assert extract([*both[2:], *both[:2], *both, "-o", "2.yaml", "--oci", "2.json"]) == 0
    assert (work / "1.yaml").read_bytes() == (work / "2.yaml").read_bytes()
    assert (work / "1.json").read_bytes() == (work / "2.json").read_bytes()
    assert {"brk", "accept4", "pselect6", "futex"} <= allowed(work / "1.json")


def test_an_unknown_runtime_is_covered_and_told(work, capsys):
    for name, code in (("youki", "[unknown-runtime]"), (None, "[runtimes]")):
        (work / "y.scmm-cap").write_bytes(as_bytes(nginx(runtime={"name": name, "version": None})))
        assert extract(["-i", "y.scmm-cap", "--oci", "p.json"]) == 0
        assert code in capsys.readouterr().err
        assert {"pselect6", "futex", "openat2"} <= allowed(work / "p.json")


def test_existing_outputs_are_replaced(work):
    (work / "p.yaml").write_text("old")
    assert extract(["-i", "nginx.scmm-cap", "-o", "p.yaml"]) == 0
    assert (work / "p.yaml").read_text() == (GOLDEN / "nginx.scmm.yaml").read_text()


def test_if_one_output_cannot_be_written_the_other_stays(work, capsys):
    (work / "p.yaml").write_text("old")
    assert extract(["-i", "nginx.scmm-cap", "-o", "p.yaml", "--oci", "none/p.json"]) == 1
    assert capsys.readouterr().err == "error: none/p.json cannot be written: No such file or directory\n"
    assert (work / "p.yaml").read_text() == "old"
    assert sorted(path.name for path in work.iterdir()) == ["nginx.scmm-cap", "p.yaml"]


def test_an_incomplete_capture_needs_consent(work, capsys):
    loss = {"kind": "lost-calls", "count": 3, "detail": "no table was left"}
    (work / "i.scmm-cap").write_bytes(as_bytes(nginx(complete=False, losses=[loss])))
    command = ["-i", "i.scmm-cap", "-o", "p.yaml", "--oci", "p.json"]
    assert extract(command) == 2
    assert "lost-calls (3×): no table was left" in (err := capsys.readouterr().err)
    assert "--accept-incomplete" in err
    assert not (work / "p.yaml").exists()
    assert extract([*command, "--accept-incomplete"]) == 0
    assert "[incomplete]" in capsys.readouterr().err
    assert (work / "p.yaml").read_text() == (GOLDEN / "nginx.scmm.yaml").read_text()


def test_bad_inputs_are_told_all_at_once(work, capsys):
    (work / "a").write_bytes(as_bytes(app(call("read") | {"name": "raed"}, extra=1)))
    (work / "b").write_bytes(b"{")
    assert extract(["-i", "a", "-i", "nginx.scmm-cap", "-i", "b", "-i", "c", "-o", "p.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [[word.partition(" (")[0] for word in line.split(": ", 3)[1:3]] for line in err.splitlines()] == [
        ["a", ".extra"],
        ["a", ".sessions[0].phases.app[0].name"],
        ["b", "line 1, column 2"],
        ["c", "there is no such file"],
    ]
    assert "a capture is written when its container ends" in err
    assert "did you mean 'read'?" in err
    assert not (work / "p.yaml").exists()


def test_a_flood_of_errors_is_cut(work, capsys):
    (work / "a").write_bytes(as_bytes(nginx(**{f"x{number}": 1 for number in range(500)})))
    assert extract(["-i", "a", "--stats-only"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 201
    assert lines[-1] == "error: … and 300 more"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["-i", "nginx.scmm-cap"], "give --output, --oci or --stats-only"),
        (["-o", "x"], "Missing option '-i'"),
        (["-i", "nginx.scmm-cap", "-o", "x", "--default-errno", "EPREM"], "did you mean 'EPERM'?"),
        (["-i", "nginx.scmm-cap", "-o", "x", "--runtime", "rnuc"], "'rnuc' is not one of"),
        (["--frob"], "No such option"),
        (["-i", "nginx.scmm-cap", "-o", "x", "--resume"], "needs a terminal"),
    ],
)
def test_bad_usage(work, capsys, command, expected):
    assert extract(command) == 2
    assert expected in capsys.readouterr().err
    assert not (work / "x").exists()


BAD_FLAGS = {
    "--default-action=notify": "'notify' is not an action for the default",
    "--default-errno=EPREM": "did you mean 'EPERM'?",
    "--category=fils=deny": "did you mean 'files'?",
    "--category=files=some": "'some' is not a choice",
    "--category=files=top:x": "has no number after top:",
    "--categories=files,nowhere": "'nowhere' is not a category",
    "--allow=opennat": "did you mean 'openat'?",
    "--call=read=alow": "did you mean 'allow'?",
    "--arguments=some": "known: none, sensitive, all",
    "--check-argument=socket": "is not CALL:N",
    "--check-argument=socket:6": "N is 0 to 5",
    "--open-argument=sockt:0": "did you mean 'socket'?",
    "--unseen-arguments=no": "known: allow, enosys",
    "--generalise=maybe": "known: evidence, none",
    "--accept=etc/*": "absolute path",
    "--reject=/a/**/b": "--reject '/a/**/b'",
    "--leave-out=/a//b": "--leave-out '/a//b'",
    "--missing-files=ask": "known: precreate, parentdir, skip",
    "--created-files=ask": "known: auto, precreate, parentdir, skip",
    "--home=here": "--home",
    "--addresses=some": "known: any, observed",
    "--leave-out-port=tcp/443": "is not DIRECTION/PROTOCOL/PORT",
    "--leave-out-port=outbound/tcp/65536": "is not DIRECTION/PROTOCOL/PORT",
}


def test_bad_flags_are_told_all_at_once(work, capsys):
    assert extract(["-i", "nginx.scmm-cap", "-o", "x", *BAD_FLAGS]) == 2
    lines = capsys.readouterr().err.splitlines()
    for flag, told in BAD_FLAGS.items():
        place = flag.partition("=")[0]
        assert any(place in line and told in line for line in lines), flag
    assert all(line.startswith("error: ") for line in lines)
    assert not (work / "x").exists()


@pytest.mark.parametrize(("flag", "told"), BAD_FLAGS.items())
def test_each_bad_flag_alone(work, capsys, flag, told):
    assert extract(["-i", "nginx.scmm-cap", "-o", "x", flag]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--allow", "read", "--deny", "read"], "two actions: allow and deny"),
        (["--accept", "/a/*", "--reject", "/a/*"], "is rejected too"),
        (["--check-argument", "mmap:2", "--open-argument", "mmap:2"], "is left open too"),
        (["--category", "files=deny", "--category", "files=top"], "files has two choices"),
        (["--category", "files=top:3", "--category", "network=top"], "top has two numbers"),
        (["--categories", "files", "--category", "network=allow"], "network is none of --categories"),
    ],
)
def test_flags_that_contradict_each_other(work, capsys, flags, told):
    assert extract(["-i", "nginx.scmm-cap", "-o", "x", *flags]) == 2
    assert told in capsys.readouterr().err
    assert extract(["-i", "nginx.scmm-cap", "-o", "x", *flags[:2]]) == 0


def policy_of(work, *flags):
    assert extract(["-i", "nginx.scmm-cap", "-o", "f.yaml", *flags]) == 0
    return read_policy(work / "f.yaml")


def calls_of(policy):
    return {rule.name for rule in policy.syscalls if rule.action == "allow"}


def test_flags_do_what_they_say(work):
    usual = policy_of(work)
    everything = {"accept4", "clone", "epoll_wait", "getcwd", "openat", "personality", "read", "write"}
    assert calls_of(usual) == everything
    assert calls_of(policy_of(work, "--category=files=deny")) == {"accept4", "clone", "epoll_wait", "personality"}
    assert calls_of(policy_of(work, "--category=files=deny", "--allow=read")) >= {"read", "accept4"}
    assert calls_of(policy_of(work, "--category=files=review")) == calls_of(policy_of(work, "--category=files=deny"))
    assert calls_of(policy_of(work, "--category=files=top:2")) == everything - {"write", "getcwd"}
    assert calls_of(policy_of(work, "--categories=files, network")) == {"accept4", "getcwd", "openat", "read", "write"}
    assert calls_of(policy_of(work, "--deny=write")) == everything - {"write"}
    actions = {
        rule.name: rule.action for rule in policy_of(work, "--kill=write", "--log=read", "--call=clone=trap").syscalls
    }
    assert (actions["write"], actions["read"], actions["clone"]) == ("kill", "log", "trap")
    assert policy_of(work, "--default-action=log").settings.default_action == "log"
    assert {"pread64", "accept"} & calls_of(policy_of(work, "--portable"))
    constrained = {rule.name for rule in usual.syscalls if rule.constraints}
    assert constrained == {"clone"}
    for flags in (["--arguments=none"], ["--open-argument=clone:0"]):
        assert not any(rule.constraints for rule in policy_of(work, *flags).syscalls)
    for flags in (["--arguments=all"], ["--check-argument=openat:2"]):
        assert "openat" in {rule.name for rule in policy_of(work, *flags).syscalls if rule.constraints}
    assert policy_of(work, "--no-files").filesystem is None and usual.filesystem
    assert policy_of(work, "--no-network").network is None and usual.network.inbound
    assert policy_of(work, "--leave-out-port=inbound/tcp/80").network.inbound == ()
    assert policy_of(work, "--no-capabilities").capabilities is None and usual.capabilities is not None
    assert policy_of(work, "--transitions").transitions and usual.transitions is None
    paths = {rule.path for rule in usual.filesystem}
    assert {"/etc/nginx/nginx.conf", "/etc/nginx/conf.d"} <= paths and "/etc/nginx/**" not in paths
    accepted = {rule.path for rule in policy_of(work, "--accept=/etc/nginx/**").filesystem}
    assert "/etc/nginx/**" in accepted and "/etc/nginx/nginx.conf" not in accepted
    left = {rule.path for rule in policy_of(work, "--leave-out=/etc/**").filesystem}
    assert left == {path for path in paths if not path.startswith("/etc")}


def test_choices_without_effect_are_told(work, capsys):
    flags = ["--accept=/nowhere/*", "--reject=/no/*", "--leave-out=/not/**"]
    flags += ["--check-argument=socket:5", "--leave-out-port=outbound/tcp/1"]
    assert extract(["-i", "nginx.scmm-cap", "-o", "x", *flags]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "[unused-choice]" in line]
    assert len(told) == len(flags)
    for word in ("/nowhere/*", "/no/*", "/not/**", "argument 5 of socket", "outbound/tcp/1"):
        assert sum(word in line for line in told) == 1, word
    used = ["--allow=read", "--accept=/etc/nginx/*", "--leave-out=/usr/sbin/nginx", "--check-argument=socket:0"]
    assert extract(["-i", "nginx.scmm-cap", "-o", "x", *used, "--leave-out-port=inbound/tcp/80"]) == 0
    assert "unused-choice" not in capsys.readouterr().err


def test_calls_that_nobody_made_are_decided_too(work):
    plain = policy_of(work, "--allow=ptrace", "--kill=mount", "--deny=keyctl")
    rules = {rule.name: rule.action.value for rule in plain.syscalls}
    assert (rules["ptrace"], rules["mount"]) == ("allow", "kill")
    assert "keyctl" not in rules  # the default says so
    open_policy = policy_of(work, "--default-action=allow", "--deny=ptrace")
    assert {rule.name: rule.action.value for rule in open_policy.syscalls}["ptrace"] == "deny"


def test_patterns_are_told_with_what_they_newly_allow(work, capsys):
    (work / "r").write_bytes(as_bytes(RICH))
    assert extract(["-i", "r", "-o", "x"]) == 0
    err = capsys.readouterr().err
    assert "patterns taken, with what they newly allow:\n" in err
    assert "  /srv/in/*: read_file for every file that is directly in /srv/in" in err
    assert all(line.isprintable() for line in err.splitlines())
    # And with the flag that is given, a protected one is taken.
    assert extract(["-i", "nginx.scmm-cap", "-o", "x", "--accept", "/run/**"]) == 0
    err = capsys.readouterr().err
    assert "--accept '/run/**'" not in err and "  /run/**: make_reg for /run" in err


def test_long_lists_are_cut_and_json_has_all(work, capsys):
    uses = [file_use(f"/etc/d{number}/{kind}", access=["read_file"]) for number in range(30) for kind in range(9)]
    uses += [file_use(f"/etc/d{number}", flags=0o200000, access=["read_dir"]) for number in range(30)]
    (work / "r").write_bytes(as_bytes({**RICH, "files": uses}))
    assert extract(["-i", "r", "-o", "x", "--json"]) == 0
    out, err = capsys.readouterr()
    waiting = json.loads(out)["waiting"]
    assert len(waiting) >= 30
    assert f"  … and {len(waiting) - 8} more, with --json" in err.splitlines()
    assert sum("--accept" in line for line in err.splitlines()) == 8


def test_an_edited_policy_is_updated_in_place(work, capsys):
    assert extract(["-i", "nginx.scmm-cap", "-o", "p.yaml", "--deny", "write"]) == 0
    text = (work / "p.yaml").read_text()
    assert "name: write" not in text
    mine = text.replace("  - {name: accept4", "  # the server's own\n  - {name: accept4")
    assert mine != text
    (work / "p.yaml").write_text(mine)
    assert extract(["-i", "nginx.scmm-cap", "--update", "p.yaml"]) == 0
    now = (work / "p.yaml").read_text()
    assert "  # the server's own\n  - {name: accept4" in now and "name: write" in now
    assert extract(["-i", "nginx.scmm-cap", "-o", "fresh.yaml"]) == 0
    assert read_policy("p.yaml") == read_policy("fresh.yaml")
    # Another output leaves it as it is; without the flag comments go.
    assert extract(["-i", "nginx.scmm-cap", "--update", "p.yaml", "-o", "q.yaml", "--deny", "read"]) == 0
    assert (work / "p.yaml").read_text() == now and "the server's own" in (work / "q.yaml").read_text()
    assert extract(["-i", "nginx.scmm-cap", "-o", "p.yaml"]) == 0
    assert "the server's own" not in (work / "p.yaml").read_text()


def test_what_is_no_policy_is_not_updated(work, capsys):
    (work / "p.yaml").write_text("a: 1\n")
    assert extract(["-i", "nginx.scmm-cap", "--update", "p.yaml"]) == 2
    assert (work / "p.yaml").read_text() == "a: 1\n"
    assert extract(["-i", "nginx.scmm-cap", "--update", "none.yaml"]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_a_stopped_interview_is_mentioned_and_left_alone(work, capsys):
    (work / "p.yaml.interview").write_text("{}")
    assert extract(["-i", "nginx.scmm-cap", "-o", "p.yaml"]) == 0
    assert "[interview]" in capsys.readouterr().err
    assert (work / "p.yaml.interview").read_text() == "{}"
    assert extract(["-i", "nginx.scmm-cap", "-o", "q.yaml"]) == 0
    assert "[interview]" not in capsys.readouterr().err


def test_help_is_in_sections(capsys):
    assert main(["extract", "--help"]) == 0
    out = capsys.readouterr().out
    titles = [line[:-1] for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles[:6] == ["Input and output", "How it runs", "System calls", "Arguments", "Files", "Network"]


def test_stats(work, capsys):
    (work / "h.scmm-cap").write_bytes(
        as_bytes(nginx(name="ev\x1b]0;il\x07", notes=[], runtime={"name": None, "version": None}))
    )
    assert extract(["-i", "nginx.scmm-cap", "-i", "h.scmm-cap", "--stats-only"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(character.isprintable() or character == "\n" for character in out)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    first = lines.index("capture: nginx")
    assert lines[first : first + 6] == [
        "capture: nginx",
        "recorded: 2026-11-22T09:42:16Z – 2026-11-22T09:42:19Z",
        "host: Linux 6.18.44, x86_64",
        "runtime: runc 1.1.5+ds1",
        "program: nginx -g daemon off;",
        "complete: yes",
    ]
    assert "main 0 setup 2 4 mount 3, prctl 1" in lines
    assert "files 4 50 openat 30, read 15, write 4, getcwd 1" in lines
    assert "/etc 3 0 1 read_dir 1, read_file 1" in lines
    assert "/usr/sbin/nginx 1 1" in lines
    assert "inbound tcp 80 1 0.0.0.0" in lines
    assert "socket 0 1 AF_INET" in lines
    # Both together: twice of each.
    assert "together: 2 recordings" in lines
    assert "files 4 100 openat 60, read 30, write 8, getcwd 2" in lines
    assert "/usr/sbin/nginx 2 2" in lines
    assert "exec 1 app 2 4 read 3, getcwd 1" in lines
    assert "clone3 ENOSYS" in out
    assert "capture: ev\\x1b]0;il\\x07" in lines
    assert "runtime: –" in lines
    assert sorted(path.name for path in work.iterdir()) == ["h.scmm-cap", "nginx.scmm-cap"]


def test_stats_of_an_incomplete_capture(work, capsys):
    loss = {"kind": "cut-short", "count": 1, "detail": "recovered"}
    (work / "i.scmm-cap").write_bytes(as_bytes(nginx(complete=False, losses=[loss])))
    assert extract(["-i", "i.scmm-cap", "--stats-only"]) == 0
    assert "lost:      cut-short (1×): recovered" in capsys.readouterr().out


def test_stats_as_json(work, capsys):
    assert extract(["-i", "nginx.scmm-cap", "--stats-only", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (stats,) = document["recordings"]
    assert stats["complete"] is True
    together = document["together"]
    assert together == {key: stats[key] for key in together}
    files = {one["directory"]: one for one in together["files"]}
    assert files["/var"]["created"] == 1 and files["/etc"]["missing"] == 1
    assert files["/var"]["rights"] == {"make_reg": 1, "write_file": 1}
    assert [one["category"] for one in together["categories"]] == ["files", "network", "process", "other"]
    assert together["network"] == [
        {"addresses": ["0.0.0.0"], "count": 1, "direction": "inbound", "port": 80, "protocol": "tcp"}
    ]
    ioctl = next(one for one in together["arguments"] if one["call"] == "ioctl")
    assert ioctl["open_ended"] is True and ioctl["count"] == 2
    app_phase = stats["sessions"][0]["phases"]["app"]
    assert app_phase == {
        "names": 7,
        "calls": 60,
        "top": [["openat", 30], ["read", 12], ["epoll_wait", 9], ["write", 4], ["accept4", 2]],
        "denied": [["clone3", "ENOSYS"], ["keyctl", "EPERM"], ["personality", "EPERM"]],
    }


def test_help_is_quick_and_shows_an_example():
    # What is imported decides how quick: the group must not load a verb's libraries.
    code = (
        "import sys; from scmm_oci.cli.main import main; main(['--help']);"
        "print(*sorted({'rich', 'ruamel', 'jsonschema', 'json.decoder'} & set(sys.modules)), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stderr.strip() in ("", "json.decoder")
    words = " ".join(run.stdout.split())
    for verb, (_, summary) in VERBS.items():
        assert f"{verb} {summary}" in words
    assert "Example:" in run.stdout


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help_with_an_example(verb, capsys):
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example" in out
    assert f"scmm-{verb} " in out or f"scmm {verb} " in out


def test_an_unknown_verb_is_bad_usage(capsys):
    assert main(["extrct"]) == 2
    assert "No such command 'extrct'" in capsys.readouterr().err
    assert main(["--version"]) == 0


def test_a_defect_keeps_its_traceback(work, monkeypatch):
    monkeypatch.setattr("scmm_oci.cli.extract.infer", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extract(["-i", "nginx.scmm-cap", "-o", "x"])


def test_a_reader_that_leaves_is_no_defect(work):
    command = [sys.executable, "-m", "scmm_oci.cli.main", "extract", "-i", "nginx.scmm-cap", "--stats-only", "--json"]
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    os.close(write)
    assert (run.returncode, run.stderr) == (1, "")


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        (["-o", "nginx.scmm-cap"], "is an input too"),
        (["-o", "./link/../nginx.scmm-cap"], "is an input too"),
        (["-o", "x", "--oci", "./x"], "is the name of two outputs"),
        (["-o", "d/x", "--oci", "link/x"], "is the name of two outputs"),
        (["-o", "", "--oci", "y"], "an output has an empty name"),
    ],
)
def test_outputs_do_not_take_each_others_place(work, capsys, outputs, told):
    (work / "d").mkdir()
    (work / "link").symlink_to("d")
    before = (work / "nginx.scmm-cap").read_bytes()
    assert extract(["-i", "nginx.scmm-cap", *outputs]) == 2
    assert told in capsys.readouterr().err
    assert (work / "nginx.scmm-cap").read_bytes() == before
    assert sorted(path.name for path in work.iterdir()) == ["d", "link", "nginx.scmm-cap"]
    assert extract(["-i", "nginx.scmm-cap", "-o", "x", "--oci", "d/x"]) == 0


def test_only_native_calls_of_the_runtime_join_the_floor_and_they_are_named(work, capsys):
    for arch in ("x86_64", "x86"):
        document = app(call("read"))
        document["sessions"][0]["phases"]["runtime"] = [call("mount", arch=arch)]
        (work / "odd").write_bytes(as_bytes(document))
        assert extract(["-i", "odd", "--oci", "odd.json"]) == 0
        told = capsys.readouterr().err
        assert ("mount" in allowed(work / "odd.json")) == (arch == "x86_64")
        assert ("[recorded-floor]" in told) == (arch == "x86_64")
        assert ("[strange-runtime-call]" in told) == (arch == "x86")
        assert "mount" in told


def test_an_edited_policy_is_compiled(work, capsys):
    assert extract(["-i", "nginx.scmm-cap", "-o", "p.yaml", "--oci", "p.json"]) == 0
    assert main(["compile", "-i", "p.yaml", "--oci", "same.json", "--runtime", "runc"]) == 0
    program = {rule.name for rule in read_policy("p.yaml").syscalls if rule.action == "allow"}
    assert program <= allowed(work / "same.json")
    text = (work / "p.yaml").read_text()
    assert "name: accept4, action: allow" in text
    (work / "p.yaml").write_text(text.replace("name: accept4, action: allow", "name: accept4, action: kill"))
    assert main(["compile", "-i", "p.yaml", "--oci", "edited.json", "--runtime", "runc"]) == 0
    assert allowed(work / "same.json") - allowed(work / "edited.json") == {"accept4"}
    capsys.readouterr()
    (work / "p.yaml").write_text(text.replace("name: accept4", "name: acept4"))
    assert main(["compile", "-i", "p.yaml", "--oci", "bad.json"]) == 2
    assert "did you mean 'accept4'?" in capsys.readouterr().err
    assert main(["compile", "-i", "p.yaml", "--oci", "p.yaml"]) == 2
    assert not (work / "bad.json").exists()


def test_closed_output_does_not_hide_what_was_done(work):
    words = [sys.executable, "-m", "scmm_oci.cli.main", "extract", "-i", "nginx.scmm-cap", "-o", "p.yaml"]
    for closing in (">&-", "2>&-"):
        (work / "p.yaml").unlink(missing_ok=True)
        done = subprocess.run(["/bin/sh", "-c", f"{shlex.join(words)} {closing}"], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (work / "p.yaml").exists()
    full = f"{shlex.join([*words[:3], 'extract', '-i', 'nginx.scmm-cap', '--stats-only'])} > /dev/full"
    done = subprocess.run(["/bin/sh", "-c", full], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "no space left" in done.stderr
    narrow = {**os.environ, "PYTHONIOENCODING": "ascii"}
    stats = [*words[:3], "extract", "-i", "nginx.scmm-cap", "--stats-only"]
    done = subprocess.run(stats, env=narrow, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_output_does_not_depend_on_hash_seed_locale_or_place(work):
    seen = set()
    for number, (seed, locale) in enumerate((("0", "C"), ("1", "C.UTF-8"), ("random", "POSIX"))):
        directory = work / str(number)
        directory.mkdir()
        words = [sys.executable, "-m", "scmm_oci.cli.main", "extract", "-i", "../nginx.scmm-cap"]
        words += ["-o", "p", "--oci", "q"]
        environ = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale}
        subprocess.run(words, cwd=directory, env=environ, check=True, capture_output=True)
        seen.add(((directory / "p").read_bytes(), (directory / "q").read_bytes()))
    assert len(seen) == 1
