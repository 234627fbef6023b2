import copy
import gc
import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import (
    NGINX,
    any_text,
    app,
    argument,
    as_bytes,
    call,
    captures,
    file_use,
    nginx,
    program,
    session,
    socket_use,
)

from scmm_oci.capture import facts, file
from scmm_oci.capture.model import LossKind, NoteKind, Phase, SessionKind, Source
from scmm_oci.errors import BadInput
from scmm_oci.fastschema import accepts, load
from scmm_oci.schema import _STRICT, Draft202012Validator, _validator, prune
from scmm_oci.schema import problems as explain
from scmm_oci.tables import operations, vocabulary
from scmm_oci.tables.syscalls import ARCHES


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
    data = as_bytes(NGINX)
    assert file.dump(file.parse(data)) == json.dumps(NGINX, sort_keys=True, separators=(",", ":")).encode() + b"\n"


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
    assert file.MAX_BYTES == 64 << 20
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


@pytest.mark.parametrize("schema", ["capture", "capture-set", "policy", "oci-seccomp"])
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
        version=3,
        complete=True,
        losses=[{"kind": "lost-call", "count": -1, "detail": "x"}],
        started_at="yesterday",
        extra=1,
        container={**NGINX["container"], "uid": True, "args": ["ok", 7]},
        sessions=[
            session([{**call("read"), "name": "raed"}, {**call("write"), "name": "read"}, call("write")]),
            session([{**call("read"), "arch": "x68_64"}, {**call("close"), "denied_errno": "EPERM"}]),
        ],
        programs=[program(0, "/bin/sh", "sh"), program(0, "/bin/a\0b", "sh"), program(64, "sh", "sh")],
        arguments=[argument("read", 0, 1), argument("read", 0, 2), {**argument("read", 1, 2**64), "name": "write"}],
        files=[file_use("/a"), file_use("/a"), file_use("b"), file_use("/c", sessions=[7], access=["read_fil"])],
        sockets=[socket_use("bind", "::1", 65536), socket_use("bind", None), socket_use("bind", None)],
        order=[
            {"arch": "x86", "edges": [[1, 1], ["end", 1], [1, "start"], [1], [1, 1], ["openat:wri", "opnat:read"]]},
            {"arch": "x86", "edges": [], "stage": "listenin", "triples": [[1, 2], [1, 1, 2], [1, "signal", "read"]]},
            {"arch": "x86", "stage": "listening", "edges": [["start:exe", "socket"], [1, 2**30]]},
            {
                "arch": "x86",
                "stage": "listening",
                "edges": [["start:fork", "mmap2:exec"]],
                "triples": [["start", 1, 3]],
            },
            {"arch": "aarch64", "edges": [["open:read", 1], ["signal", "openat:read"]]},
            {"arch": "x86", "edges": []},
        ],
    )
    del document["host"]["kernel"]
    assert problems(as_bytes(document)) == [
        ".arguments[2].values[0]: 18446744073709551616 is more than 18446744073709551615",
        ".container.args[1]: 7 is not text (put it in quotes)",
        ".container.uid: true is not a whole number or null",
        ".extra: 'extra' is not a key that may stand here (known: arguments, complete, container, ended_at, "
        "files, format, host, losses, name, notes, order, programs, recorder, runtime, sessions, sockets, "
        "source, started_at, version)",
        ".files[3].access[0]: 'read_fil' is not a known value (did you mean 'read_file'?; known: execute, "
        "write_file, read_file, read_dir, remove_dir, remove_file, make_char, make_dir, make_reg, make_sock, "
        "make_fifo, make_block, make_sym, refer, truncate, ioctl_dev, resolve_unix)",
        ".host: the key 'kernel' is missing",
        ".losses[0].count: -1 is less than 0",
        ".losses[0].kind: 'lost-call' is not a known value (did you mean 'lost-calls'?; known: lost-cgroups, "
        "lost-threads, lost-calls, lost-arguments, lost-files, lost-sockets, lost-programs, lost-order, "
        "io-uring, attached, snapshot, filtered, unfollowed, left-cgroup, cut-short, never-started, "
        "unknown-phase)",
        ".order[0].edges[3]: is shorter than 2",
        ".order[1].triples[0]: is shorter than 3",
        ".order[2].edges[1][1]: 1073741824 is more than 1073741823",
        ".programs[2].number: 64 is more than 63",
        ".sessions[1].phases.app[0].arch: 'x68_64' is not a known value (did you mean 'x86_64'?; known: x86_64, "
        "x86, x32, aarch64, arm, riscv64, s390x, s390, ppc64le)",
        ".sockets[0].port: 65536 is more than 65535",
        ".started_at: 'yesterday' is not a time in UTC such as 2026-01-31T12:00:00Z",
        ".version: is 3, must be 2",
        ".complete: is true, but .losses is not empty",
        ".sessions[0].phases.app[0].name: 'raed' is not a system call of x86_64 (did you mean 'read'?)",
        ".sessions[0].phases.app[1].name: read is number 0 of x86_64, not 1 (1 is write)",
        ".sessions[0].phases.app[2].nr: call 1 of x86_64 is .sessions[0].phases.app[1] already",
        ".sessions[1].number: session 0 is .sessions[0] already",
        ".sessions[1].phases.app[1].denied_errno: is EPERM, but .denied is 0",
        ".programs[1].number: program 0 is .programs[0] already",
        ".programs[1].path: has a null character, which no path can have",
        ".programs[2].path: 'sh' does not begin with /",
        ".arguments[1]: argument 0 of call 0 of x86_64 is .arguments[0] already",
        ".arguments[2].name: write is number 1 of x86_64, not 0 (0 is read)",
        ".files[1]: the same use of the same path is .files[0] already",
        ".files[2].path: 'b' does not begin with /",
        ".files[3].sessions[0]: there is no session 7 in .sessions",
        ".sockets[2]: the same use of the same address is .sockets[1] already",
        ".order[0].edges[1][0]: 'end' is not a class of calls or a beginning on x86",
        ".order[0].edges[2][1]: 'start' is not a call, and nothing leads to a beginning",
        ".order[0].edges[4]: is .order[0].edges[0] already",
        ".order[0].edges[5][0]: 'openat:wri' is not a class of calls or a beginning on x86 "
        "(did you mean 'openat:write'?)",
        ".order[0].edges[5][1]: 'opnat:read' is not a class of calls on x86 (did you mean 'openat:read'?)",
        ".order[1].stage: 'listenin' is not a stage (did you mean 'listening'?; known: starting, listening, accepting)",
        ".order[1].triples[1]: has the same call twice in a row, which in triples counts once",
        ".order[1].triples[2][1]: 'signal' is not a call, and nothing leads to a beginning",
        ".order[1].triples[2][2]: 'read' is a call's name, and calls stand here by number (write its number, 3)",
        ".order[2].edges[0][0]: 'start:exe' is not a class of calls or a beginning on x86 (did you mean 'start:exec'?)",
        ".order[2].edges[0][1]: 'socket' is a call's name, and calls stand here by number (write its number, 359, "
        "or its class, socket:unix or socket:inet or socket:inet6 or socket:netlink or socket:packet or socket:other)",
        ".order[3].arch: x86 at the stage listening is .order[2] already",
        ".order[4].edges[0][0]: 'open:read' is not a class of calls or a beginning on aarch64 "
        "(did you mean 'openat:read'?)",
        ".order[5].arch: x86 is .order[0] already",
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
    assert _validator("capture").schema["properties"]["source"]["enum"] == list(Source)
    assert defs["state"]["enum"] == list(facts.PathState)
    assert defs["file"]["properties"]["operation"]["enum"] == list(facts.Operation) == list(operations.OPERATIONS[1:])
    assert defs["socket"]["properties"]["operation"]["enum"] == list(facts.SocketOperation)
    assert list(facts.SocketOperation) == list(operations.SOCKET_OPERATIONS[1:])
    assert defs["arch"]["enum"] == list(ARCHES)
    assert set(defs["rights"]["items"]["enum"]) == {*vocabulary.ACCESS_RIGHTS, "resolve_unix"} - {"remove"}


@pytest.mark.parametrize("schema", ["capture", "capture-set", "policy", "oci-seccomp"])
def test_schemas_are_valid(schema):
    Draft202012Validator.check_schema(_validator(schema).schema)


def test_a_flood_of_mistakes_is_cut():
    flood = [{"x": number} for number in range(5000)]
    found = problems(as_bytes(app(*flood)))
    assert len(found) == 1001
    assert ".: has more than 1000 problems; the others are not told" in found
    misnamed = [{**call("read"), "nr": number, "name": "raed"} for number in range(5000)]
    assert len(problems(as_bytes(app(*misnamed)))) == 1000


def test_version_1_is_refused_with_a_way_out():
    old = {key: value for key, value in NGINX.items() if key not in ("files", "source", "programs")} | {"version": 1}
    assert problems(as_bytes(old)) == [".version: is 1, and only 2 is read (record again with this version)"]


def test_what_is_referred_to_is_there():
    there = file_use("/a", programs=[0, 63], sessions=[0, 1])
    called = call("read", programs=[5])
    document = nginx(sessions=[session([called])], files=[there])
    assert problems(as_bytes(document)) == [
        ".sessions[0].phases.app[0].programs[0]: there is no program 5 in .programs",
        ".files[0].programs[1]: there is no program 63 in .programs",
        ".files[0].sessions[1]: there is no session 1 in .sessions",
    ]
    # Those that share a number, and those that were lost, are not in the list.
    shared = {"kind": "programs-shared", "count": 9, "detail": "x"}
    assert len(problems(as_bytes({**document, "notes": [shared]}))) == 2
    lost = [{"kind": kind, "count": 1, "detail": "x"} for kind in ("lost-programs", "lost-calls")]
    assert len(problems(as_bytes({**document, "losses": lost[:1], "complete": False}))) == 1
    assert file.parse(as_bytes({**document, "losses": lost, "complete": False}))


def test_shared_numbers_of_programs():
    both = [program(63, "/a", "a"), program(63, "/b", "b")]
    assert len(file.parse(as_bytes(nginx(programs=[*NGINX["programs"], *both]))).programs) == 4
    twice = [program(0, "/a", "a")]
    assert problems(as_bytes(nginx(programs=[*NGINX["programs"], *twice]))) == [
        ".programs[2].number: program 0 is .programs[0] already"
    ]


def test_lists_within_an_item_are_sorted():
    use = file_use("/a", access=["write_file", "read_file"], programs=[1, 0], errnos=["EPERM", "EACCES"])
    order = [{"arch": "x86_64", "edges": [[2, 1], [1, 2], ["start", 1], [10, 1]]}]
    found = file.parse(as_bytes(nginx(files=[use], order=order, arguments=[argument("read", [2, 0], 9, 10, 1)])))
    assert (found.files[0].access, found.files[0].programs) == (("read_file", "write_file"), (0, 1))
    assert found.order[0].pairs == (("start", 1), (1, 2), (2, 1), (10, 1))
    assert (found.arguments[0].values, found.arguments[0].indexes) == ((1, 9, 10), (2, 0))


def test_what_earlier_recorders_wrote_of_order_stays_as_it_is():
    """Bare numbers of calls that have classes, the beginning that is not known closer, no stages and no triples."""
    order = [{"arch": "x86", "edges": [["foreign", 5], ["start", 5], [5, 90]]}, {"arch": "x86_64", "edges": [[9, 257]]}]
    capture = file.parse(as_bytes(nginx(order=order)))
    assert [(one.pairs, one.stage, one.triples) for one in capture.order] == [
        ((("foreign", 5), ("start", 5), (5, 90)), None, None),
        (((9, 257),), None, None),
    ]
    assert json.loads(file.dump(capture))["order"] == order


def test_order_by_stage_and_three_deep():
    order = [
        {"arch": "x86_64", "edges": [[3, "openat:write"], ["start:exec", 12], ["mmap:data", 3]], "triples": []},
        {"arch": "x86_64", "stage": "listening", "edges": [[50, 288]]},
        {
            "arch": "x86_64",
            "stage": "accepting",
            "edges": [[1, 288], [288, 1], [0, 0]],
            "triples": [[1, 288, 0], ["start:thread", 0, "socket:inet"], [0, 1, 0]],
        },
    ]
    capture = file.parse(as_bytes(nginx(order=order)))
    assert [one.stage for one in capture.order] == [None, "listening", "accepting"]
    assert capture.order[0].pairs == (("mmap:data", 3), ("start:exec", 12), (3, "openat:write"))
    assert [one.triples for one in capture.order] == [
        (),
        None,
        (("start:thread", 0, "socket:inet"), (0, 1, 0), (1, 288, 0)),
    ]
    again = json.loads(file.dump(capture))["order"]
    assert [sorted(one) for one in again] == [
        ["arch", "edges", "triples"],
        ["arch", "edges", "stage"],
        ["arch", "edges", "stage", "triples"],
    ]
    assert file.parse(file.dump(capture)) == capture


@given(st.binary(max_size=40))
def test_any_path_survives(name):
    path = "/" + name.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    capture = file.parse(as_bytes(nginx(files=[file_use(path, other=path)])))
    assert file.parse(file.dump(capture)).files[0].path == path
    assert len(file.parse(as_bytes(nginx(files=[file_use("/" + "\udcff" * 8191)]))).files[0].path) == 8192


_SCALARS = st.none() | st.booleans() | st.integers(-1, 70) | st.just(2**64) | any_text | st.sampled_from(["EPERM", "1"])
_JUNK = _SCALARS | st.lists(_SCALARS, max_size=3) | st.dictionaries(any_text, _SCALARS, max_size=2)


def _holders(value, found):
    """Every list and mapping in a document."""
    if isinstance(value, dict | list):
        found.append(value)
        for inner in value.values() if isinstance(value, dict) else value:
            _holders(inner, found)
    return found


@given(st.data())
def test_the_compiled_schema_refuses_what_the_other_does(data):
    document = copy.deepcopy(NGINX)
    holders = _holders(document, [])
    for _ in range(data.draw(st.integers(0, 2))):
        holder = data.draw(st.sampled_from(holders))
        keys = sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))
        change = data.draw(st.sampled_from(["put", "add", "drop", "double"])) if keys else "add"
        key = data.draw(st.sampled_from(keys)) if keys else None
        if change == "put":
            holder[key] = data.draw(_JUNK)
        elif change == "drop":
            del holder[key]
        elif isinstance(holder, dict):
            holder[data.draw(any_text)] = data.draw(_JUNK)
        else:
            holder.append(data.draw(_JUNK) if change == "add" else copy.deepcopy(holder[key]))
    # Controls: the schema as jsonschema has it, and as it is with the shortcut for long lists.
    good = not list(_STRICT(load("capture")).iter_errors(document))
    assert accepts(document, "capture") == good
    assert (not explain(document, "capture")) == good


def test_the_compiled_schema_can_refuse_and_accept():
    assert accepts(NGINX, "capture")
    assert not accepts({**NGINX, "version": 1}, "capture")
    assert not accepts(nginx(files=[file_use("/a", errnos=["EIO", "EIO"])]), "capture")
    assert not accepts(nginx(files=[file_use("/a", errnos=["EIO\n"])]), "capture")
    assert not accepts(nginx(files=[file_use("/a", created=0)]), "capture")
    assert not accepts(nginx(files=[file_use("/a", flags=True)]), "capture")


def _large(number, *last):
    files = [file_use(f"/usr/lib/d{index % 500}/{index}", access=["read_file"], first=index) for index in range(number)]
    return as_bytes(nginx(files=[*files, *last]))


def test_a_large_capture_is_read_and_written_quickly():
    data = _large(100_000)
    assert len(data) > 25_000_000
    start = time.process_time()
    capture = file.parse(data)
    written = file.dump(capture)
    # 2.3 s on the machine that it was measured on; jsonschema alone takes minutes.
    assert time.process_time() - start < 5
    assert len(capture.files) == 100_000
    assert len(written) < len(data)
    assert gc.isenabled()


def test_one_mistake_in_a_large_capture_is_found_quickly():
    data = _large(100_000, file_use("/x", flags=-1, sessions=[9]), file_use("/y", errnos=["EFOO"]))
    taken, found = seconds(data)
    assert taken < 10
    assert [one.partition(" (")[0] for one in found] == [
        ".files[100000].flags: -1 is less than 0",
        ".files[100000].sessions[0]: there is no session 9 in .sessions",
        ".files[100001].errnos[0]: 'EFOO' is not an error name",
    ]


def test_a_bad_document_stays_as_it_is():
    document = nginx(version=3)
    document["files"][0]["flags"] = -1
    before = copy.deepcopy(document)
    rest = prune(document, explain(document, "capture"))
    assert document == before
    assert "flags" not in rest["files"][0]
    assert "version" not in rest
    assert rest["files"][1] is document["files"][1]
