"""scmm show from the outside, and the overview that it prints."""

import io
import json
from contextlib import redirect_stdout

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import NGINX, app, argument, as_bytes, call, captures, file_use, nginx, program, session, socket_use

from scmm_oci.capture import file
from scmm_oci.capture.overview import SECTIONS, overview
from scmm_oci.cli.main import merge, show
from scmm_oci.cli.tables import print_overview


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A directory to stand in, with the capture "a"."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(as_bytes(NGINX))
    return tmp_path


def lines_of(capsys, *command):
    """What the command prints, with runs of spaces as one."""
    assert show([*command]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [" ".join(line.split()) for line in out.splitlines()]


def json_of(capsys, *command):
    assert show([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def text_of(captures_, **options):
    out = io.StringIO()
    with redirect_stdout(out):
        print_overview(overview(captures_), captures_, SECTIONS, **{"limit": 40, "whole_order": True, **options})
    return out.getvalue()


def test_everything_of_one_capture(work, capsys):
    lines = lines_of(capsys, "a")
    for line in (
        "capture: nginx",
        "programs: 2",
        "nginx /usr/sbin/nginx /lib64/ld-linux-x86-64.so.2 1 0.001 s",
        "sh /bin/busybox /docker-entrypoint.sh 1 0.000 s",
        "system calls of main 0, setup: 2",
        "system calls of main 0, app: 9",
        "openat 30 nginx, sh 0.002 s",
        "clone3 0 2 ENOSYS",
        "system calls of exec 1, app: 2",
        "arguments: 5",
        "files: 6",
        "/etc/nginx",
        "nginx.conf open read_file 1 nginx, sh",
        "ld.so.preload access 0o4 0 1 ENOENT named nginx",
        "nginx.pid ↔ /run/nginx.tmp rename-to dir:make_reg 1 nginx",
        "sockets: 2",
        "bind inet stream 0.0.0.0 port 80 1 nginx 0.000 s",
        "connect unix stream /run/php.sock 0 1 ENOENT nginx 0.000 s",
        "x86_64 3 5",
    ):
        assert line in lines
    assert not any("recordings" in line for line in lines)
    # The headings, with what was lost, come before all tables.
    assert lines.index("complete: yes") < lines.index("programs: 2")


def test_losses_and_notes_are_said_first(work, capsys):
    loss = {"kind": "lost-files", "count": 3, "detail": "the table was full"}
    note = {"kind": "named-paths", "count": 2, "detail": "as named"}
    (work / "b").write_bytes(as_bytes(nginx(complete=False, losses=[loss], notes=[note])))
    lines = lines_of(capsys, "b", "--files")
    assert lines.index("lost: lost-files (3×): the table was full") < lines.index("files: 6")
    assert "note: named-paths (2×): as named" in lines


@pytest.mark.parametrize(
    ("option", "title"),
    [
        ("--programs", "programs: 2"),
        ("--calls", "system calls of main 0, app: 9"),
        ("--arguments", "arguments: 5"),
        ("--files", "files: 6"),
        ("--sockets", "sockets: 2"),
        ("--order", "order of the calls of x86_64: 5"),
    ],
)
def test_sections_can_be_chosen(work, capsys, option, title):
    lines = lines_of(capsys, "a", option)
    assert title in lines
    titles = [line for line in lines if line.partition(":")[0] in ("programs", "arguments", "files", "sockets")]
    titles += [line for line in lines if line.startswith(("system calls of", "order"))]
    assert all(one.split()[0] == title.split()[0] for one in titles)


def test_the_order_in_words(work, capsys):
    lines = lines_of(capsys, "a", "--order")
    assert {"start read", "signal write", "read openat", "openat read"} <= set(lines)
    assert "order (--order lists it): 1" in lines_of(capsys, "a")


def test_one_phase(work, capsys):
    lines = lines_of(capsys, "a", "--calls", "--phase", "runtime")
    assert [line for line in lines if line.startswith("system calls")] == [
        "system calls of main 0, runtime: 4",
        "system calls of exec 1, runtime: 1",
    ]
    assert {one["phase"] for one in json_of(capsys, "a", "--phase", "setup")["calls"]} == {"setup"}


def test_limits_say_how_much_more_there_is(work, capsys):
    (work / "b").write_bytes(as_bytes(nginx(files=[file_use(f"/d/{number:03}") for number in range(100)])))
    lines = lines_of(capsys, "b", "--files")
    assert "039 open 1 nginx" in lines
    assert "040 open 1 nginx" not in lines
    assert lines[-2] == "… and 60 more (--limit 0 shows all)"
    assert lines_of(capsys, "b", "--files", "--limit", "99")[-2] == "… and 1 more (--limit 0 shows all)"
    assert "099 open 1 nginx" in lines_of(capsys, "b", "--files", "--limit", "0")
    assert not any("more" in line for line in lines_of(capsys, "b", "--files", "--limit", "100"))
    assert len(json_of(capsys, "b", "--files", "--limit", "1")["files"]) == 100


def test_what_is_empty_is_said(work, capsys):
    (work / "b").write_bytes(as_bytes(app(call("read"))))
    lines = lines_of(capsys, "b")
    assert {"programs: none", "arguments: none", "files: none", "sockets: none"} <= set(lines)


def test_what_differs_from_the_machine_is_named(work, capsys):
    calls = [call("read", arch="x86"), {**call("read", nr=501), "name": None}, {**call("brk"), "name": None}]
    (work / "b").write_bytes(as_bytes(app(*calls)))
    lines = lines_of(capsys, "b", "--calls")
    assert {"x86:read 1", "x86_64:501 1", "brk 1"} <= set(lines)


def test_values_of_arguments(work, capsys):
    many = argument("setns", 1, *range(20), open_ended=True)
    unknown = argument("membarrier", [3, 4], (7 << 32) | 0x1000)
    (work / "b").write_bytes(as_bytes(nginx(arguments=[many, unknown, argument("socket", 0, 2, 10)])))
    lines = lines_of(capsys, "b", "--arguments")
    assert "membarrier 3 and 4 7 with 0x1000" in lines
    assert "socket 0 AF_INET, AF_INET6" in lines
    (found,) = [line for line in lines if line.startswith("setns 1 ")]
    assert found.endswith("… 8 more, and others that were not kept")


def test_order_by_stage_and_three_deep(work, capsys):
    order = [
        {"arch": "x86_64", "stage": "starting", "edges": [["start:exec", 12], [12, "openat:read"]], "triples": []},
        {
            "arch": "x86_64",
            "stage": "accepting",
            "edges": [["start:thread", 288], [288, 0]],
            "triples": [["start:thread", 288, 0]],
        },
    ]
    (work / "b").write_bytes(as_bytes(nginx(name="b", order=order)))
    found = json_of(capsys, "a", "b", "--order")["order"]
    assert [(one["stage"], one["count"], one["triples"]) for one in found] == [
        (None, 5, None),
        ("starting", 2, []),
        ("accepting", 2, [["start:thread", 288, 0, 1]]),
    ]
    lines = lines_of(capsys, "b", "--order")
    at = lines.index("order of the calls of x86_64, starting: 2")
    assert lines[at + 1 : at + 4] == ["from to", "start:exec brk", "brk openat:read"]
    assert "three in a row of the calls of x86_64, starting: none" in lines
    at = lines.index("three in a row of the calls of x86_64, accepting: 1")
    assert lines[at + 1 : at + 3] == ["before from to", "start:thread accept4 read"]
    short = lines_of(capsys, "b")
    assert "x86_64 starting 2 2 0" in short and "x86_64 accepting 2 2 1" in short


def test_several_recordings_are_shown_together(work, capsys):
    # Programs have other numbers there, and one of them is new.
    other = nginx(
        name="b",
        programs=[program(5, "/usr/sbin/nginx", "nginx", count=2, first=0), program(6, "/bin/busybox", "sh")],
        sessions=[session([call("read", 5, programs=[5], first=1), call("brk", programs=[6])])],
        files=[
            file_use("/etc/nginx/nginx.conf", access=["read_file", "write_file"], programs=[6], errnos=["EACCES"]),
            file_use("/tmp/x1", programs=[5]),
        ],
        sockets=[socket_use("bind", "0.0.0.0", 80, programs=[5])],
        arguments=[argument("socket", 0, 10)],
        order=[{"arch": "x86_64", "edges": [["start", 0], [0, 12]]}],
    )
    (work / "b").write_bytes(as_bytes(other))
    found = json_of(capsys, "a", "b", "--order", "--calls", "--files", "--arguments", "--sockets")
    assert [one["name"] for one in found["recordings"]] == ["b", "nginx"]
    programs = {
        one["number"]: (one["path"], one["script"], one["count"], one["recordings"]) for one in found["programs"]
    }
    assert sorted(programs.values(), key=str) == [
        ("/bin/busybox", "/docker-entrypoint.sh", 1, 1),
        ("/bin/busybox", None, 1, 1),
        ("/usr/sbin/nginx", None, 3, 2),
    ]
    read = next(one for one in found["calls"] if (one["name"], one["session"], one["phase"]) == ("read", 0, "app"))
    assert (read["entered"], read["first"], read["recordings"]) == (17, 1, 2)
    assert {programs[number][0] for number in read["programs"]} == {"/usr/sbin/nginx", "/bin/busybox"}
    conf = next(one for one in found["files"] if one["path"] == "/etc/nginx/nginx.conf")
    assert (conf["access"], conf["errnos"], conf["recordings"]) == (["read_file", "write_file"], ["EACCES"], 2)
    assert (conf["succeeded"], conf["failed"], len(conf["programs"])) == (1, 1, 3)
    assert next(one for one in found["files"] if one["path"] == "/tmp/x1")["recordings"] == 1
    assert next(one for one in found["arguments"] if one["name"] == "socket")["values"] == [2, 10]
    assert next(one for one in found["sockets"] if one["port"] == 80)["recordings"] == 2
    assert [edge for edge in found["order"][0]["edges"] if edge[2] == 2] == [["start", 0, 2]]
    # Sets are shown as their captures are, in any order.
    assert merge(["b", "a", "-o", "ab"]) == 0
    capsys.readouterr()
    lines = lines_of(capsys, "ab")
    assert lines == lines_of(capsys, "b", "a")
    assert "nginx.conf open read_file write_file 1 1 EACCES nginx, sh#1, sh#2 2" in lines


def test_programs_that_share_a_number_or_were_lost(work, capsys):
    shared = [program(63, "/a", "a"), program(63, "/b", "b")]
    lost = {"kind": "lost-programs", "count": 1, "detail": "x"}
    calls = [call("read", programs=[63]), call("brk", programs=[7])]
    (work / "b").write_bytes(as_bytes(app(*calls, programs=shared, complete=False, losses=[lost])))
    found = json_of(capsys, "b")
    nameless = [one["number"] for one in found["programs"] if one["path"] is None]
    assert len(nameless) == 1
    assert [one["programs"] for one in found["calls"]] == [nameless, nameless]
    assert "? one of several, or of those that were lost 0" in lines_of(capsys, "b", "--programs")


def test_json_is_stable(work, capsys):
    found = json_of(capsys, "a")
    assert set(found) == {"recordings", *SECTIONS}
    assert found["order"] == [{"arch": "x86_64", "stage": None, "calls": 3, "count": 5}]
    assert set(found["files"][0]) == {*NGINX["files"][0], "recordings"}
    assert set(found["sockets"][0]) == {*NGINX["sockets"][0], "recordings"}
    assert set(found["programs"][0]) == {*NGINX["programs"][0], "recordings"}
    assert set(found["arguments"][0]) == {*NGINX["arguments"][0], "recordings"}
    changed = {"denied_errno"}, {"kind", "session", "phase", "denied_errnos", "recordings"}
    assert set(found["calls"][0]) == ({*call("read")} - changed[0]) | changed[1]
    assert set(json_of(capsys, "a", "--sockets")) == {"recordings", "programs", "sockets"}
    assert len(json_of(capsys, "a", "--order")["order"][0]["edges"]) == 5


def test_all_that_is_wrong_is_told_at_once(work, capsys):
    (work / "b").write_bytes(b"{")
    assert show(["none", "a", "b"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[1] for line in err.splitlines()] == ["none", "b"]


@settings(max_examples=40)
@given(st.lists(captures(), min_size=1, max_size=2), st.sampled_from([0, 1, 40]))
def test_nothing_of_a_capture_reaches_the_terminal_raw(several, limit):
    text = text_of(several, limit=limit)
    assert all(character.isprintable() or character == "\n" for character in text)


def test_control_characters_are_shown_as_escapes():
    hostile = "\x1b]0;il\x07\u202e\udc80"
    document = nginx(
        name=hostile,
        files=[file_use(f"/{hostile}/{hostile}", other=hostile)],
        programs=[program(0, f"/{hostile}", hostile), program(1, "/b", "b", script=hostile, loader=hostile)],
        sockets=[socket_use("connect", hostile, family=hostile, type=hostile)],
        arguments=[argument("read", 0, 1, field=hostile)],
        losses=[{"kind": "cut-short", "count": 1, "detail": hostile}],
        complete=False,
    )
    text = text_of([file.parse(as_bytes(document))])
    assert all(character.isprintable() or character == "\n" for character in text)
    # Control: it is all there, as an escape.
    assert "".join(text.split()).count("\\x1b]0;il\\x07\\u202e\\udc80") >= 9


@settings(max_examples=40)
@given(st.lists(captures(), min_size=1, max_size=3))
def test_the_overview_drops_nothing(several):
    found = overview(several)
    assert overview([*reversed(several), several[0]]) == found
    chosen = set(several)
    assert len(found["recordings"]) == len(chosen)
    assert {one["path"] for one in found["files"]} == {use.path for one in chosen for use in one.files}
    assert sum(one["succeeded"] for one in found["files"]) == sum(use.succeeded for one in chosen for use in one.files)
    assert sum(one["recordings"] for one in found["files"]) == sum(len(one.files) for one in chosen)
    assert sum(one["count"] for one in found["programs"]) == sum(use.count for one in chosen for use in one.programs)
    called = [one for capture in chosen for part in capture.sessions for one in (*part.setup, *part.runtime, *part.app)]
    assert sum(one["entered"] for one in found["calls"]) == sum(one.entered for one in called)
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(overview(several)))
