"""Sets of captures: the laws of merging, the files, and ``scmm merge`` from the outside."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import NGINX, app, as_bytes, call, captures, nginx, of_one_machine

from scmm_oci.capture import file
from scmm_oci.capture.merge import distinct, merge
from scmm_oci.cli.main import extract, main
from scmm_oci.cli.main import merge as scmm_merge
from scmm_oci.errors import BadInput, Failure
from scmm_oci.policy.infer import infer

some = st.lists(of_one_machine(), min_size=1, max_size=3)


def parse(document):
    return file.parse(as_bytes(document))


@settings(max_examples=40)
@given(some, some, some)
def test_merging_is_associative_commutative_and_idempotent(first, second, third):
    both = merge([*first, *second])
    assert merge([*second, *first]) == both
    assert merge([*both, *third]) == merge([*first, *merge([*second, *third])])
    assert merge(both) == both == merge([*both, *first, *both])


@settings(max_examples=40)
@given(some)
def test_merging_loses_nothing_and_invents_nothing(given_captures):
    assert set(merge(given_captures)) == set(given_captures)
    assert len(merge(given_captures)) == len(set(given_captures))


@settings(max_examples=40)
@given(st.lists(captures(), min_size=1, max_size=3, unique=True))
def test_round_trip_of_sets(several):
    ordered = distinct(several)
    data = file.dump_all(ordered)
    assert file.parse_all(data) == ordered
    assert file.dump_all(file.parse_all(data)) == data
    assert data.isascii() and data.endswith(b"}\n") and data.count(b"\n") == 1
    assert (b"scmm-capture-set" in data) == (len(several) > 1) or any("capture-set" in repr(one) for one in several)


@settings(max_examples=40)
@given(st.lists(captures(), min_size=2, max_size=4))
def test_the_order_is_total(several):
    # Controls: by name alone, or as given, captures that differ elsewhere could come in any order.
    assert distinct(several) == distinct(reversed(several)) == distinct(distinct(several))


def test_captures_that_differ_in_one_count_are_kept_apart():
    first, second = parse(app(call("read", 1))), parse(app(call("read", 2)))
    assert merge([second, first]) == merge([first, second])
    assert len(merge([first, second, first])) == 2


def test_machines_that_differ_are_refused():
    arm = parse(app(call("read", arch="aarch64"), name="arm", host={"kernel": "6", "machine": "aarch64"}))
    with pytest.raises(BadInput, match=r"different machines \('arm': aarch64, 'nginx': x86_64\)"):
        merge([parse(NGINX), arm])
    # Control: two names of one machine are one.
    other = parse(nginx(name="b", host={"kernel": "6", "machine": "amd64"}))
    assert len(merge([parse(NGINX), other])) == 2
    with pytest.raises(BadInput, match="no capture"):
        merge([])


def test_all_that_is_wrong_with_a_set_is_told_at_once():
    bad = nginx(complete=False, extra=1)
    document = {"format": "scmm-capture-set", "version": 2, "captures": [NGINX, bad, 7, {**NGINX, "version": 1}]}
    with pytest.raises(BadInput) as caught:
        file.parse_all(as_bytes({**document, "more": 1}))
    assert [str(one).partition(" (")[0] for one in caught.value.problems] == [
        ".captures[2]: 7 is not a mapping",
        ".more: 'more' is not a key that may stand here",
        ".captures[1].extra: 'extra' is not a key that may stand here",
        ".captures[1].complete: is false, but .losses names no loss",
        ".captures[3].version: is 1, and only 2 is read",
    ]
    for captures_, told in (([], ".captures: is empty"), (None, ".captures: null is not a list")):
        with pytest.raises(BadInput, match=told.replace(".", r"\.")):
            file.parse_all(as_bytes({**document, "captures": captures_}))
    with pytest.raises(BadInput, match=r"^\.version: is 1, must be 2$"):
        file.parse_all(as_bytes({**document, "version": 1, "captures": [NGINX]}))
    assert len(file.parse_all(as_bytes({**document, "captures": [NGINX]}))) == 1


def test_a_flood_of_mistakes_in_a_set_is_cut():
    bad = app(*({"x": number} for number in range(1500)))
    document = {"format": "scmm-capture-set", "version": 2, "captures": [bad, bad, bad]}
    with pytest.raises(BadInput) as caught:
        file.parse_all(as_bytes(document))
    assert len(caught.value.problems) == 2002
    assert str(caught.value.problems[-1]) == ".: has more than 2001 problems; the others are not told"


def test_where_one_is_wanted_a_set_is_refused():
    data = file.dump_all([parse(NGINX), parse(nginx(name="b"))])
    with pytest.raises(BadInput, match="has 2 captures where one is wanted"):
        file.parse(data)


def test_what_would_be_too_large_to_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "MAX_BYTES", 1000)
    with pytest.raises(Failure, match="and 1000 are the most that is read"):
        file.write(tmp_path / "x", parse(NGINX))
    assert not (tmp_path / "x").exists()


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(as_bytes(NGINX))
    (tmp_path / "b").write_bytes(as_bytes(app(call("brk"), name="b")))
    return tmp_path


def test_the_verb(work, capsys):
    assert scmm_merge(["a", "b", "a", "-o", "ab"]) == 0
    assert capsys.readouterr() == ("", "ab: 2 recordings; 1 given twice\n")
    assert scmm_merge(["b", "ab", "-o", "ba", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == "ba: 2 recordings; 1 given twice\n"
    told = json.loads(out)
    assert (told["output"], told["given"]) == ("ba", 3)
    assert [one["name"] for one in told["recordings"]] == ["b", "nginx"]
    assert (work / "ab").read_bytes() == (work / "ba").read_bytes()
    assert (work / "ab").stat().st_mode & 0o777 == 0o600
    assert [one.name for one in file.read_all("ab")] == ["b", "nginx"]


def test_one_capture_stays_a_plain_one(work, capsys):
    assert main(["merge", "a", "a", "-o", "one"]) == 0
    assert capsys.readouterr().err == "one: 1 recording; 1 given twice\n"
    assert file.read("one") == file.read("a")


def test_incomplete_recordings_are_told(work, capsys):
    loss = {"kind": "lost-files", "count": 3, "detail": "x"}
    (work / "c").write_bytes(as_bytes(nginx(name="c", complete=False, losses=[loss])))
    assert scmm_merge(["a", "c", "-o", "ac", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "1 of them incomplete" in err
    assert [one["losses"] for one in json.loads(out)["recordings"]] == [[loss], []]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["a", "b", "-o", "a"], "is an input too"),
        (["a", "none", "-o", "x"], "none: there is no such file"),
        (["-o", "x"], "Missing argument 'CAPTURE...'"),
        (["a", "b"], "Missing option '-o'"),
    ],
)
def test_bad_usage_of_the_verb(work, capsys, command, told):
    assert scmm_merge(command) == 2
    assert told in capsys.readouterr().err
    assert not (work / "x").exists()


def test_a_policy_of_a_set_is_that_of_its_captures(work):
    assert scmm_merge(["a", "b", "-o", "ab"]) == 0
    assert extract(["-i", "ab", "-o", "set.yaml", "--oci", "set.json"]) == 0
    assert extract(["-i", "b", "-i", "a", "-o", "each.yaml", "--oci", "each.json"]) == 0
    assert (work / "set.yaml").read_bytes() == (work / "each.yaml").read_bytes()
    assert (work / "set.json").read_bytes() == (work / "each.json").read_bytes()
    assert infer(file.read_all("ab")) == infer([file.read("b"), file.read("a")])


def test_statistics_of_a_set_are_of_each(work, capsys):
    assert scmm_merge(["a", "b", "-o", "ab"]) == 0
    capsys.readouterr()
    assert extract(["-i", "ab", "--stats-only", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["recordings"]] == ["b", "nginx"]
