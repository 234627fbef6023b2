import json
import re
import time

import pytest
from hypothesis import given
from samples import NGINX, app, as_bytes, call, captures, nginx, session

from scmm_oci.capture import file
from scmm_oci.capture.model import LossKind, NoteKind, Phase, SessionKind
from scmm_oci.errors import BadInput
from scmm_oci.schema import Draft202012Validator, _validator


def problems(data):
    with pytest.raises(BadInput) as caught:
        file.parse(data, source="x.scmm-cap")
    assert caught.value.source == "x.scmm-cap"
    return [str(problem) for problem in caught.value.problems]


@given(captures())
def test_round_trip(capture):
    data = file.dump(capture)
    assert file.parse(data) == capture
    assert file.dump(file.parse(data)) == data
    assert data.isascii()
    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1


def test_the_document_is_the_one_that_hooks_write():
    # Sorted keys, no spaces: what a plain json.dumps of the documented form gives.
    assert (
        file.dump(file.parse(as_bytes(NGINX)))
        == json.dumps(json.loads(as_bytes(NGINX)), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    )


def test_files(tmp_path):
    path = tmp_path / "nginx.scmm-cap"
    capture = file.parse(as_bytes(nginx(name="caf\udcc3\udca9")))
    file.write(path, capture)
    assert file.read(path) == capture
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_number_without_a_name_survives():
    nameless = {**call("read", nr=501), "name": None}
    capture = file.parse(as_bytes(app(nameless)))
    (found,) = [one for _, one in capture.calls(Phase.APP)]
    assert (found.nr, found.name) == (501, None)
    assert file.parse(file.dump(capture)) == capture


def test_a_huge_file_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "huge"
    path.write_bytes(as_bytes(NGINX))
    assert file.read(path).name == "nginx"
    assert file.MAX_BYTES == 8 << 20
    monkeypatch.setattr(file, "MAX_BYTES", 100)
    with pytest.raises(BadInput, match="huge: is larger than 100 bytes"):
        file.read(path)


@pytest.mark.parametrize("length", [0, 1, 100, len(as_bytes(NGINX)) - 1])
def test_a_truncated_file_is_told_as_such(length):
    (problem,) = problems(as_bytes(NGINX)[:length])
    assert "is not JSON" in problem
    assert "is the file whole?" in problem


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff{}", "byte 0: is not UTF-8"),
        (b'{"a": 1, "a": 2}', "the key 'a' stands twice in one object"),
        (b'{"a": 1.5}', "1.5 is not a whole number"),
        (b'{"a": NaN}', "NaN is not a whole number"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", ".a: is a number of 5000 digits, and 100 are the most that is read"),
        (b'{"a": [0, -' + b"9" * 101 + b"]}", ".a[1]: is a number of 101 digits"),
        (b'{"a": {"b": [1.5, NaN]}}', ".a.b[1]: NaN is not a whole number"),
        (b"[]", ".: [] is not a mapping"),
        (b'{"format": "x"} {}', "is not JSON: Extra data"),
    ],
)
def test_what_is_no_document(data, expected):
    assert any(expected in problem for problem in problems(data))


@pytest.mark.parametrize("depth", [65, 100, 600, 930, 100_000])
def test_what_is_nested_too_deeply(depth):
    for data in (b"[" * depth + b"]" * depth, b'{"x":' * depth + b"1" + b"}" * depth):
        (problem,) = problems(data)
        assert "is nested too deeply" in problem
        assert len(problem) < 400


def test_what_is_nested_deeply_is_read():
    assert "is not a mapping" in problems(b"[" * 64 + b"]" * 64)[0]
    (problem, *_) = problems(b'{"x":' + b"[" * 64 + b"]" * 64 + b"}")
    assert problem == f".x{'[0]' * 63}: is nested too deeply (64 levels are the most that is read)"


def test_bad_numbers_without_end_are_cut():
    found = problems(b"[" + b"1.5," * 5000 + b"1]")
    assert len(found) == 1001
    assert found[-1] == ".: has more than 1000 problems; the others are not told"


def seconds(data):
    start = time.process_time()
    found = problems(data)
    return time.process_time() - start, found


def test_repeats_are_found_in_linear_time():
    mixed = [number if number % 2 else f"E{number}" for number in range(20_000)]
    taken, _ = seconds(as_bytes(app({**call("read"), "errnos": mixed})))
    assert taken < 5
    pairs = b",".join(b'"k%d": 1' % number for number in range(50_000))
    taken, found = seconds(b"{" + pairs + b', "k49999": 2}')
    assert taken < 5
    assert found == ["the key 'k49999' stands twice in one object"]


@pytest.mark.parametrize(
    ("values", "double"),
    [
        (["EPERM", "EIO", "EPERM"], "'EPERM'"),
        ([1, "1", True, [1], {"a": 1, "b": 2}, {"b": 2, "a": 1}], "{'b': 2, 'a': 1}"),
        ([1, "1", True, [1], [True], None, {"a": 1}], None),
    ],
)
def test_repeated_values(values, double):
    found = [one for one in problems(as_bytes(app({**call("read", errnos=values), "arch": "?"}))) if "twice" in one]
    assert found == ([f".sessions[0].phases.app[0].errnos: has a value twice: {double}"] if double else [])


def test_a_long_word_is_cut():
    for word in ("k" * 3_000_000, "\x1b" * 3_000_000):
        found = problems(as_bytes(nginx(**{word: 1, "started_at": word, "complete": word})))
        found += problems(as_bytes(app({**call("read"), "name": word, "arch": word, "denied_errno": word})))
        found += problems(as_bytes(app({**call("read"), "name": word})))
        found += problems(b'{"%b": 1, "%b": 2}' % (b"k" * 3_000_000, b"k" * 3_000_000))
        assert len(found) >= 7
        assert max(map(len, found)) < 800


def test_calls_that_only_a_filter_saw_have_any_errno():
    denied = [call("read", 0, denied=1, denied_errno=word, nr=nr) for nr, word in enumerate(["ENOTSUP", "1", "4095"])]
    for one in denied:
        one["name"] = None
    capture = file.parse(as_bytes(app(*denied)))
    assert [one.denied_errno for _, one in capture.calls(Phase.APP)] == ["ENOTSUP", "1", "4095"]


def test_unknown_errnos_are_problems():
    hint = "a name such as EPERM, or a number from 1 to 4095"
    bad = {**call("read", errnos=["EIO", "EFOO", "EPREM"]), "denied": 1, "denied_errno": "4096"}
    path = ".sessions[0].phases.app[0]"
    assert problems(as_bytes(app(bad, call("write", 0, errnos=["0"], denied_errno="EFOO", denied=1)))) == [
        f"{path}.errnos[1]: 'EFOO' is not an error name ({hint})",
        f"{path}.errnos[2]: 'EPREM' is not an error name (did you mean 'EPERM'?)",
        f"{path}.denied_errno: '4096' is not an error name ({hint})",
        f".sessions[0].phases.app[1].errnos[0]: '0' is not an error name ({hint})",
        f".sessions[0].phases.app[1].denied_errno: 'EFOO' is not an error name ({hint})",
    ]


def test_a_line_end_is_no_part_of_a_word():
    bad = {**call("read", errnos=["EPERM\n"]), "denied": 1, "denied_errno": "EPERM\n"}
    assert problems(as_bytes(app(bad, started_at="2026-11-22T09:42:16Z\n"))) == [
        ".sessions[0].phases.app[0].denied_errno: 'EPERM\\n' is not the name of an error number, or null",
        ".sessions[0].phases.app[0].errnos[0]: 'EPERM\\n' is not the name of an error number, such as EPERM",
        ".started_at: '2026-11-22T09:42:16Z\\n' is not a time in UTC such as 2026-01-31T12:00:00Z",
    ]


@pytest.mark.parametrize("schema", ["capture", "policy", "oci-seccomp"])
def test_no_pattern_takes_a_line_end(schema):
    for pattern in re.findall(r"'pattern': '([^']*)'", str(_validator(schema).schema)):
        assert pattern.endswith(r"$(?!\\n)"), pattern


def test_more_successes_than_calls_are_a_problem():
    assert problems(as_bytes(app({**call("read", 3), "succeeded": 4}))) == [
        ".sessions[0].phases.app[0].succeeded: is 4, but .entered is 3 only"
    ]


def test_the_arguments_have_a_bound():
    def of(args):
        return as_bytes(nginx(container={**NGINX["container"], "args": args}))

    assert len(file.parse(of(["x"] * 65536)).container.args) == 65536
    assert file.parse(of(["x" * 131072])).container.args == ("x" * 131072,)
    assert problems(of(["x"] * 65537)) == [".container.args: is longer than 65536"]
    assert problems(of(["x", "x" * 131073])) == [".container.args[1]: is longer than 131072"]


def test_a_whole_number_is_written_as_one():
    (problem,) = problems(as_bytes(nginx(container={**NGINX["container"], "uid": 5.0})))
    assert problem == ".container.uid: 5.0 is not a whole number"


def test_every_problem_is_told_at_once_with_its_place():
    document = nginx(
        version=2,
        complete=True,
        losses=[{"kind": "lost-call", "count": -1, "detail": "x"}],
        started_at="yesterday",
        extra=1,
        container={**NGINX["container"], "uid": True, "args": ["ok", 7]},
        sessions=[
            session([{**call("read"), "name": "raed"}, {**call("write"), "name": "read"}, call("write")]),
            session([{**call("read"), "arch": "x68_64"}, {**call("close"), "denied_errno": "EPERM"}]),
        ],
    )
    del document["host"]["kernel"]
    assert problems(as_bytes(document)) == [
        ".container.args[1]: 7 is not text",
        ".container.uid: true is not a whole number or null",
        ".extra: 'extra' is not a key that may stand here (known: complete, container, ended_at, format, host, losses, "
        "name, notes, recorder, runtime, sessions, started_at, version)",
        ".host: the key 'kernel' is missing",
        ".losses[0].count: -1 is less than 0",
        ".losses[0].kind: 'lost-call' is not a known value (did you mean 'lost-calls'?; known: lost-cgroups, "
        "lost-threads, lost-calls, left-cgroup, cut-short, never-started, unknown-phase)",
        ".sessions[1].phases.app[0].arch: 'x68_64' is not a known value (did you mean 'x86_64'?; known: x86_64, x86, "
        "x32, aarch64, arm, riscv64, s390x, s390, ppc64le)",
        ".started_at: 'yesterday' is not a time in UTC such as 2026-01-31T12:00:00Z",
        ".version: is 2, must be 1",
        ".complete: is true, but .losses is not empty",
        ".sessions[0].phases.app[0].name: 'raed' is not a system call of x86_64 (did you mean 'read'?)",
        ".sessions[0].phases.app[1].name: read is number 0 of x86_64, not 1 (1 is write)",
        ".sessions[0].phases.app[2].nr: call 1 of x86_64 is .sessions[0].phases.app[1] already",
        ".sessions[1].number: session 0 is .sessions[0] already",
        ".sessions[1].phases.app[1].denied_errno: is EPERM, but .denied is 0",
    ]


def test_complete_means_no_losses():
    loss = {"kind": "cut-short", "count": 1, "detail": "recovered"}
    assert file.parse(as_bytes(nginx(complete=False, losses=[loss]))).complete is False
    assert file.parse(as_bytes(nginx())).complete is True
    assert problems(as_bytes(nginx(complete=False))) == [".complete: is false, but .losses names no loss"]
    assert problems(as_bytes(nginx(losses=[loss]))) == [".complete: is true, but .losses is not empty"]


@pytest.mark.parametrize("key", sorted(NGINX))
def test_every_key_is_needed(key):
    document = nginx()
    del document[key]
    assert problems(as_bytes(document)) == [f".: the key {key!r} is missing"]


def test_a_number_of_x32_is_without_its_bit():
    assert file.parse(as_bytes(app(call("execve", arch="x32"))))
    with_bit = {**call("execve", arch="x32"), "nr": 0x40000000 + 520}
    assert "is more than 1073741823" in problems(as_bytes(app(with_bit)))[0]


def test_schema_and_model_have_one_vocabulary():
    defs = _validator("capture").schema["$defs"]
    assert defs["loss"]["properties"]["kind"]["enum"] == list(LossKind)
    assert defs["note"]["properties"]["kind"]["enum"] == list(NoteKind)
    assert defs["session"]["properties"]["kind"]["enum"] == list(SessionKind)
    assert list(defs["session"]["properties"]["phases"]["properties"]) == list(Phase)


@pytest.mark.parametrize("schema", ["capture", "policy", "oci-seccomp"])
def test_schemas_are_valid(schema):
    Draft202012Validator.check_schema(_validator(schema).schema)


def test_a_flood_of_mistakes_is_cut():
    flood = [{"x": number} for number in range(5000)]
    found = problems(as_bytes(app(*flood)))
    assert len(found) == 1001
    assert ".: has more than 1000 problems; the others are not told" in found
    misnamed = [{**call("read"), "nr": number, "name": "raed"} for number in range(5000)]
    assert len(problems(as_bytes(app(*misnamed)))) == 1000
