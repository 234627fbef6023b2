"""scmm extract --transitions, and the machine in --stats-only. The golden is rewritten with SCMM_GOLDEN=1."""

import json
import os
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from samples import NGINX, as_bytes
from servers import document

from scmm_oci.cli.machine_values import curve, percent
from scmm_oci.cli.main import extract
from scmm_oci.policy.document import read as read_policy

GOLDEN = Path(__file__).parent / "golden"
ALL = "--transitions --refine --depth=3 --serving-from=listen --watch=kill --likely=3"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A directory to stand in, with three captures of a server that are not alike, and one without stages."""
    monkeypatch.chdir(tmp_path)
    for name, more in (("a", ()), ("b", ()), ("c", ("write close",))):
        (tmp_path / f"{name}.scmm-cap").write_bytes(as_bytes(document(name, more=more)))
    old = document("old", deep=False)
    (tmp_path / "old.scmm-cap").write_bytes(as_bytes({**old, "order": [{**old["order"][0]}]}))
    for one in old["order"]:
        del one["stage"]
    (tmp_path / "flat.scmm-cap").write_bytes(as_bytes({**old, "order": old["order"][:1]}))
    (tmp_path / "nginx.scmm-cap").write_bytes(as_bytes({**NGINX, "order": []}))
    return tmp_path


def run(*flags, names="abc"):
    return extract([*(f"-i{name}.scmm-cap" for name in names), "--non-interactive", *flags])


def stats(capsys, *flags, names="abc"):
    assert run("--stats-only", "--json", *flags, names=names) == 0
    return json.loads(capsys.readouterr().out)["order"]


def test_golden(work):
    assert run(*ALL.split(), "-oout.scmm.yaml") == 0
    written, golden = (work / "out.scmm.yaml").read_bytes(), GOLDEN / "server-order.scmm.yaml"
    if os.environ.get("SCMM_GOLDEN"):
        golden.write_bytes(written)
    assert written == golden.read_bytes()


def test_what_is_said(work, capsys):
    assert run("--transitions", "--refine", "--depth=3", "--serving-from=listen", "-op.yaml") == 0
    lines = capsys.readouterr().err.splitlines()
    (order,) = [line for line in lines if line.startswith("order of calls: ")]
    assert order == (
        "order of calls: start-up: 6 states, 5 steps, 13.9 % of all there could be; "
        "serving: 9 states, 22 steps, 27.2 % of all there could be; 18 histories allow less"
    )
    told = [line for line in lines if "[order-estimate]" in line]
    assert told == [
        "note: 1 of the next 3 recordings is expected to show an order not seen yet (at most 9 of 10; 95 % sure) "
        "[order-estimate]"
    ]
    assert sum("[likely-left-out]" in line for line in lines) == 1 and not [
        line for line in lines if "accepted" in line
    ]


def test_the_policy_says_what_no_recording_has(work, capsys):
    assert run(*ALL.split(), "-op.yaml", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    accepted = [one for one in result["order"]["likely"] if one["accepted"]]
    assert accepted and {one["recordings"] for one in accepted} == {3}
    assert [one["code"] for one in result["findings"]].count("likely-accepted") == len(accepted)
    lines = [line.strip() for line in (work / "p.yaml").read_text().splitlines()]
    remarks = {}
    for remark, row in pairwise(lines):
        if remark.startswith("# Likely, and in no recording: "):
            call, _, following = row.partition(": ")
            remarks[call] = remark[:-1].partition(": ")[2].split(", ")
            assert set(remarks[call]) < set(following[1:-1].split(", "))
    assert "getpid" in remarks["recvfrom"]
    assert sorted((call, to) for call in remarks for to in remarks[call]) == sorted(
        (one["from"], one["to"]) for one in accepted
    )
    assert run("--transitions", "-oq.yaml") == 0
    assert "in no recording" not in (work / "q.yaml").read_text()


def test_flags_repeat_the_run(work, capsys):
    assert run(*ALL.split(), "-op.yaml", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["flags"] == ALL.split()
    assert run(*result["flags"], "-oq.yaml") == 0
    assert (work / "p.yaml").read_bytes() == (work / "q.yaml").read_bytes()
    assert run("--transitions", "-or.yaml") == 0
    assert (work / "p.yaml").read_bytes() != (work / "r.yaml").read_bytes()


def test_an_update_keeps_what_people_wrote(work):
    assert run("--transitions", "-op.yaml") == 0
    text = (work / "p.yaml").read_text()
    (work / "p.yaml").write_text(text.replace("transitions:\n", "transitions:  # mine\n"))
    assert run(*ALL.split(), "--update=p.yaml") == 0
    assert "transitions:  # mine\n" in (work / "p.yaml").read_text()
    assert run(*ALL.split(), "-oq.yaml") == 0
    assert read_policy("p.yaml") == read_policy("q.yaml")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--refine", "--watch=kill"], ["--refine: is about transitions", "--watch: is about transitions"]),
        (
            ["--transitions", "--depth=4", "--likely=0"],
            ["--depth: '4' is not a depth (known: 2, 3)", "--likely: '0' is"],
        ),
        (["--transitions", "--watch=kil"], ["--watch: 'kil' is not what a watch does (did you mean 'kill'?"]),
        (
            ["--transitions", "--serving-from=lisen"],
            ["--serving-from: 'lisen' is not a system call (did you mean 'lis"],
        ),
        (
            ["--transitions", "--serving-from=poll"],
            ["serving_from: recordings do not tell when a process makes 'poll'"],
        ),
        (
            ["--transitions", "--serving-from=accept"],
            ["serving_from: programs made accept4 as well", "name accept4 too"],
        ),
    ],
)
def test_flags_that_cannot_be(work, capsys, flags, told):
    assert run("-op.yaml", *flags) == 2
    err = capsys.readouterr().err
    assert all(one in err for one in told), err
    assert not (work / "p.yaml").exists()


def test_captures_that_do_not_hold_what_is_wished_for(work, capsys):
    assert run(*ALL.split(), "-op.yaml", names=["a", "flat"]) == 2
    err = capsys.readouterr().err
    assert err.count("capture 'old': does not tell what") == 2 and "scmm record --depth 3" in err
    assert "capture 'a'" not in err and not (work / "p.yaml").exists()
    assert run("--transitions", "-op.yaml", names=["a", "flat"]) == 0


def test_stats_of_a_machine(work, capsys):
    assert run("--stats-only") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    first = lines.index("order of calls (x86_64): 14 states, 34 steps, 17.3 % of all there could be")
    assert lines[first + 1 : first + 4] == [
        "by stage: starting 5, listening 1, accepting 21",
        "1 of the next 3 recordings is expected to show an order not seen yet (at most 9 of 10; 95 % sure)",
        "98.7 % of what happens is known; 0.33 new steps are expected in the next recording, and 26 or more are there "
        "to be seen",
    ]
    table = lines[first + 5 : first + 9]
    assert table[0] == "recording steps new alone" and table[1] == f"a 25 25 0 {'█' * 24}"
    assert table[2] == "b 25 0 0" and table[3] == "c 26 1 1 █"
    assert lines[first + 10 : first + 13] == ["in one recording only: 1", "step recording", "write > close c"]
    assert any(line.startswith("recvfrom > getpid 3 read > getpid is in 3 of the") for line in lines)


def test_stats_promise_nothing_where_all_is_alike(work, capsys):
    assert run("--stats-only", names="ab") == 0
    out = capsys.readouterr().out
    assert "but they are too few to say how often" in out and "25 steps, each in two recordings or more" in out
    assert " is known; " not in out


def test_stats_of_a_machine_as_json(work, capsys):
    (coarse,) = stats(capsys)
    assert coarse["arch"] == "x86_64" and list(coarse["phases"]) == ["always"]
    assert coarse["recordings"][2] == {"name": "c", "steps": 26, "new": 1, "alone": 1}
    estimate = coarse["estimate"]
    assert (estimate["recordings"], estimate["steps"], estimate["in_one"]) == (3, 26, 1)
    assert estimate["chance"] == pytest.approx(1 / 3) and estimate["coverage"] == pytest.approx(1 - 1 / 76)
    (fine,) = stats(capsys, "--refine", "--depth=3", "--serving-from=listen")
    assert set(fine["phases"]) == {"start-up", "serving"} and fine["phases"]["serving"]["histories"] > 0
    assert fine["phases"]["serving"]["share"] == pytest.approx(22 / 81)
    assert fine["estimate"]["steps"] > estimate["steps"]
    assert coarse["alone"] == [{"recording": "c", "step": "write > close", "serving": False}]
    assert {"recording": "c", "step": "write > close", "serving": True} in fine["alone"]
    (alone,) = stats(capsys, names="a")
    assert alone["alone"] == []
    assert alone["estimate"]["chance"] is None and "nothing can be said" in alone["estimate"]["words"]
    assert stats(capsys, names=["nginx"]) == []


def test_stats_tell_what_captures_lack(work, capsys):
    assert run("--stats-only", "--depth=3", "--serving-from=listen", names=["flat"]) == 2
    err = capsys.readouterr().err
    assert "does not tell what came before two calls" in err and "before and after they served" in err


def test_many_recordings_share_rows():
    recordings = [{"name": f"r{n:02}", "steps": n, "new": n % 2, "alone": n % 3} for n in range(50)]
    rows = curve(recordings)
    assert len(rows) == 17 and rows[0][:4] == ["r00 … r02 (3)", 2, 1, 3]
    assert sum(row[2] for row in rows) == sum(one["new"] for one in recordings)
    assert [row[4] == "" for row in rows] == [row[2] == 0 for row in rows]
    assert curve([]) == [] and len(curve(recordings[:24])) == 24


def test_shares_are_never_rounded_to_all_or_nothing():
    assert [percent(one) for one in (0, 0.0001, 0.063, 0.9996, 1)] == [
        "0.0 %",
        "less than 0.1 %",
        "6.3 %",
        "more than 99.9 %",
        "100.0 %",
    ]


def test_the_interview_tells_the_same_flags(work):
    words = shlex.split(f"-ia.scmm-cap -op.yaml {ALL}")
    assert extract([*words, "--non-interactive", "--json"]) == 0
