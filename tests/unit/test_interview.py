"""The interview without a terminal: questions, answers, undoing; flags that say the same; the file that keeps it."""

import json
import os
import stat

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interviewed import RICH, rich
from samples import app, as_bytes, call, file_use, nginx, program

from scmm_oci.capture import file
from scmm_oci.cli import decision_options
from scmm_oci.cli.decided import choices_of, command_line, flags_of
from scmm_oci.cli.interview import course, session
from scmm_oci.cli.interview.conversation import Conversation, Outcome
from scmm_oci.cli.interview.course import Did, Event, finished, position
from scmm_oci.cli.interview.questions import Kind, Option, Part, Question, check
from scmm_oci.cli.interview.world import World
from scmm_oci.errors import BadInput
from scmm_oci.policy import choices as choices_form
from scmm_oci.policy.choices import Choices
from scmm_oci.policy.decisions import (
    Addresses,
    ArgumentRules,
    CategoryChoice,
    CreatedFiles,
    Decisions,
    Generalise,
    Unseen,
)
from scmm_oci.policy.model import Action, OnMissing, WatchAction
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.policy.paths.protected import protected_root
from scmm_oci.policy.render import dump
from scmm_oci.tables.categories import Category

WORLD = World([rich()])


def parsed(flags):
    """What a command line with these flags chooses."""

    @click.command()
    @decision_options.decision_options
    def command(**values):
        pass

    return choices_of(command.make_context("x", list(flags)).params)


def answered(answers, *, world=WORLD, initial=None):
    """The events of an interview in which the questions with these ids (or their beginnings) get these answers."""
    events, used = [], set()
    initial = initial if initial is not None else Choices()
    while (question := position(world, initial, events).question) is not None:
        answer = answers.get(question.id, question.default)
        used |= {question.id} & answers.keys()
        events.append(Event(Did.ANSWER, question.id, check(question, answer)))
    assert used == answers.keys(), f"never asked: {answers.keys() - used}"
    return events


def tool(*calls, **changes):
    """A capture document of one program."""
    return app(*calls, programs=[program(0, "/usr/bin/tool", "tool")], **changes)


def chosen(answers, *, world=WORLD, initial=None):
    initial = initial if initial is not None else Choices()
    return position(world, initial, answered(answers, world=world, initial=initial)).choices


def asked(world, answers=None):
    return [event.what for event in answered(answers or {}, world=world)]


def question(identity, answers=None, *, world=WORLD, initial=None):
    """The question with the id, as it is asked after these answers."""
    initial = initial if initial is not None else Choices()
    events = []
    while (now := position(world, initial, events).question) is not None and now.id != identity:
        events.append(Event(Did.ANSWER, now.id, (answers or {}).get(now.id, now.default)))
    assert now is not None, f"{identity} is not asked"
    return now


def keys(asked_question):
    return [one.key for one in asked_question.options]


def paths(choices, world=WORLD):
    return {rule.path: set(rule.access) for rule in world.infer(choices).policy.filesystem}


# What is asked.


def test_all_defaults_choose_what_no_flags_do():
    assert chosen({}) == Choices()
    assert dump(WORLD.infer(chosen({})).policy) == dump(WORLD.infer(Choices()).policy)


def test_the_questions_come_in_order():
    ids = asked(WORLD)
    assert ids == [
        "default/action",
        "default/errno",
        "calls/files",
        "calls/network",
        "calls/process",
        "calls/memory",
        "files/etc",
        "files/srv",
        "files/tmp",
        "files/usr",
        "files/var",
        "files/var\x1b]0;evil\x07",
        "absent/missing",
        "absent/created",
        "network/rules",
        "network/addresses",
        "arguments/rules",
        "arguments/sensitive",
        "arguments/unseen",
        "arguments/portable",
    ]


def test_nothing_is_asked_about_what_was_not_seen():
    bare = World([file.parse(as_bytes(tool(call("getpid"))))])
    assert asked(bare) == ["default/action", "default/errno", "calls/process"]
    # Control: with one more thing in the capture there is one more question.
    more = World([file.parse(as_bytes(tool(call("getpid"), files=[file_use("/srv/x", access=["read_file"])])))])
    assert asked(more) == ["default/action", "default/errno", "calls/process", "files/srv"]


def test_parts_that_flags_leave_out_are_not_asked_about():
    initial = Choices(Decisions(files=False, network=False))
    events = answered({}, initial=initial)
    assert {event.what.partition("/")[0] for event in events} == {"default", "calls", "arguments"}


def test_flags_are_where_the_interview_begins():
    decisions = Decisions(
        default_action=Action.KILL,
        categories={Category.FILES: CategoryChoice.REVIEW},
        calls={"read": Action.LOG},
        missing_files=OnMissing.PRECREATE,
        created_files=CreatedFiles.SKIP,
        addresses=Addresses.OBSERVED,
        ports=frozenset({("inbound", "tcp", 80)}),
        arguments=ArgumentRules.ALL,
        leave_open=frozenset({("mmap", 2)}),
        unseen=Unseen.ENOSYS,
        portable=True,
        accept=("/etc/**",),
        reject=("/srv/in/*",),
    )
    result = chosen({}, initial=Choices(decisions, ("/tmp/**",)))
    review = {"read": Action.LOG, "openat": Action.ALLOW}
    assert result == Choices(decisions.changed(calls=review), ("/tmp/**",))


# Calls.


@pytest.mark.parametrize("action", ["log", "kill", "trap", "allow"])
def test_the_default_action(action):
    result = chosen({"default/action": action})
    assert result == Choices(Decisions(default_action=Action(action)))


def test_another_errno():
    assert chosen({"default/errno": "other", "default/errno-name": "EIO"}).decisions.default_errno == "EIO"
    asked_question = question("default/errno-name", {"default/errno": "other"})
    with pytest.raises(BadInput, match="did you mean 'ENOSYS'"):
        check(asked_question, "ENOSYSS")


def test_categories():
    result = chosen({"calls/process": "deny", "calls/memory": "review", "calls/memory/review": ()})
    assert result.decisions.categories == {
        Category.PROCESS: CategoryChoice.DENY,
        Category.MEMORY: CategoryChoice.REVIEW,
    }
    names = {rule.name for rule in WORLD.infer(result).policy.syscalls}
    assert "read" in names and not names & {"ptrace", "clone3", "mmap"}


def test_the_most_frequent():
    initial = Choices(Decisions(top=1))
    shown = question("calls/files", initial=initial)
    assert [one.label for one in shown.options if one.key == "top"] == ["allow the 1 most frequent"]
    assert "top" not in keys(question("calls/files"))  # there are not more than ten
    result = chosen({"calls/files": "top"}, initial=initial)
    names = {rule.name for rule in WORLD.infer(result).policy.syscalls}
    assert "read" in names and "openat" not in names


def test_review_marks_what_is_dangerous_and_says_why():
    shown = question("calls/process/review", {"calls/process": "review"})
    marked = {one.key: one for one in shown.options if one.warning}
    assert marked.keys() == {"ptrace"}
    assert any("governs other processes" in line for line in marked["ptrace"].preview)
    result = chosen({"calls/process": "review", "calls/process/review": ("clone3",)})
    assert result.decisions.calls == {"clone3": Action.ALLOW}
    names = {rule.name for rule in WORLD.infer(result).policy.syscalls}
    assert "clone3" in names and "ptrace" not in names


def test_review_keeps_actions_that_flags_gave():
    initial = Choices(Decisions(calls={"ptrace": Action.KILL, "clone3": Action.LOG}))
    shown = question("calls/process/review", {"calls/process": "review"}, initial=initial)
    assert shown.default == ("clone3",)
    result = chosen({"calls/process": "review"}, initial=initial)
    assert result.decisions.calls == initial.decisions.calls
    result = chosen({"calls/process": "review", "calls/process/review": ("ptrace",)}, initial=initial)
    assert result.decisions.calls == {"ptrace": Action.ALLOW}


# Files.


def suggested(world=WORLD):
    return {one.pattern.text for one in world.seen(Choices()).proposals if one.automatic}


def test_the_sample_has_suggestions():
    assert {"/srv/in/*", "/tmp/**"} <= suggested()


def test_suggested_patterns_are_taken_or_not():
    assert "/srv/in/*" in paths(chosen({"files/srv": "suggested"}))
    result = chosen({"files/srv": "exact"})
    assert "/srv/in/*" in result.decisions.reject
    assert {f"/srv/in/part{number}.csv" for number in range(4)} <= paths(result).keys()
    assert "/srv/in/*" not in paths(result)


def test_a_group_can_be_left_out():
    result = chosen({"files/etc": "out"})
    assert result.leave_out == ("/etc/**",)
    assert not any(path.startswith("/etc") for path in paths(result))
    assert any(path.startswith("/etc") for path in paths(Choices()))
    assert "left-out" in {finding.code for finding in WORLD.infer(result).findings}


def test_a_pattern_of_ones_own():
    answers = {"files/srv": "custom", "files/srv#custom": "/srv/**", "files/srv#custom#/srv/**": "take:/srv/**"}
    result = chosen(answers)
    assert result.decisions.accept == ("/srv/**",)
    # What it covers goes, by components.
    assert result.decisions.reject == ("/srv/in/*",)
    assert paths(result)["/srv/**"] == {"read_dir", "read_file"}
    preview = question("files/srv#custom#/srv/**", answers).lines
    assert preview[0] == "read_file, read_dir for /srv and everything beneath it"
    assert preview[1:3] == ("opens /srv, a protected place", "stands for 5 observed paths:")
    with pytest.raises(BadInput, match="absolute"):
        check(question("files/srv#custom", answers), "srv/**")


def test_protected_places_are_asked_about_twice():
    whole = "take:/etc/**"
    shown = question("files/etc")
    assert [one.warning for one in shown.options if one.key == whole] == [True]
    again = question("files/etc#yes#/etc/**", {"files/etc": whole})
    assert again.default == "no"
    assert "opens /etc, a protected place" in again.options[1].preview
    assert chosen({"files/etc": whole}) == Choices()
    result = chosen({"files/etc": whole, "files/etc#yes#/etc/**": whole})
    assert result.decisions.accept == ("/etc/**",)
    assert "/etc/**" in paths(result)
    custom = {"files/etc": "custom", "files/etc#custom": "/etc/*"}
    assert chosen(custom) == Choices()
    result = chosen({**custom, "files/etc#custom#/etc/*": "take:/etc/*"})
    assert result.decisions.accept == ("/etc/*",)


def test_what_is_not_protected_is_asked_about_once():
    result = chosen({"files/srv": "take:/srv/in/**"})
    assert result.decisions.accept == ("/srv/in/**",)


def test_each_pattern_by_itself():
    first = question("files/srv#/srv/in/*", {"files/srv": "each"})
    assert first.default == "take:/srv/in/*"
    assert first.lines[0].startswith("because ")
    assert first.lines[1].startswith("newly allows read_file")
    wider = [one.key for one in first.options if "wider" in one.label]
    assert "take:/srv/in/**" in wider
    assert chosen({"files/srv": "each"}) == Choices()
    result = chosen({"files/srv": "each", first.id: "exact"})
    assert result.decisions.reject == ("/srv/in/*",)
    result = chosen({"files/srv": "each", first.id: "take:/srv/in/**"})
    assert (result.decisions.accept, result.decisions.reject) == (("/srv/in/**",), ("/srv/in/*",))
    result = chosen({"files/srv": "each", first.id: "out"})
    assert result.leave_out == ("/srv/in/*",)
    assert not any(path.startswith("/srv/in/part") for path in paths(result))
    result = chosen({"files/srv": "each", first.id: "rest"})
    assert result == Choices()


def test_what_is_covered_is_not_asked_about_by_components():
    uses = [
        *(file_use(f"/opt/lib/x{number}", access=["read_file"]) for number in range(3)),
        *(file_use(f"/opt2/lib/x{number}", access=["read_file"]) for number in range(3)),
    ]
    world = World([file.parse(as_bytes(tool(call("read"), files=uses)))])
    wide = Choices(Decisions(accept=("/opt/**",)))
    ids = [event.what for event in answered({}, world=world, initial=wide)]
    assert "files/opt" not in ids and "files/opt2" in ids
    assert "files/opt" in asked(world)
    # One that is rejected covers nothing.
    neither = Choices(Decisions(accept=("/opt/**",), reject=("/opt/**",)))
    assert "files/opt" in [event.what for event in answered({}, world=world, initial=neither)]


def test_many_paths_are_shown_as_groups():
    uses = [file_use(f"/data/d{number % 40}/f{number}", access=["read_file"]) for number in range(5000)]
    uses += [file_use(f"/usr/lib/m{number}/x", access=["read_file"]) for number in range(500)]
    world = World([file.parse(as_bytes(tool(call("read"), files=uses)))])
    ids = asked(world)
    assert [one for one in ids if one.startswith("files/")] == ["files/data", "files/usr"]
    shown = question("files/data", world=world)
    assert "5000 paths" in shown.title
    assert len(shown.lines) < 15
    assert all(len(option.preview) < 15 for option in shown.options)


def test_files_directly_in_the_root_directory():
    uses = [file_use("/", access=["read_dir"]), file_use("/start.sh", access=["read_file"])]
    world = World([file.parse(as_bytes(tool(call("read"), files=uses)))])
    assert keys(question("files/", world=world)) == ["exact", "custom", "out"]
    result = chosen({"files/": "out"}, world=world)
    assert result.leave_out == ("/start.sh",)


# Absent files, network, arguments.


def test_missing_and_created_files():
    result = chosen({"absent/missing": "precreate", "absent/created": "skip"})
    assert result.decisions.missing_files is OnMissing.PRECREATE
    assert result.decisions.created_files is CreatedFiles.SKIP
    assert question("absent/missing").lines == ("/etc/missing.conf",)
    assert "/etc/missing.conf" in paths(result) and "/etc/missing.conf" not in paths(Choices())


def test_network():
    shown = question("network/rules")
    assert keys(shown) == ["inbound/tcp/80", "outbound/tcp/443", "outbound/udp/53"]
    assert shown.default == tuple(keys(shown))
    result = chosen({"network/rules": ("inbound/tcp/80", "outbound/udp/53")})
    assert result.decisions.ports == {("outbound", "tcp", 443)}
    network = WORLD.infer(result).policy.network
    assert [str(rule.ports[0]) for rule in (*network.inbound, *network.outbound)] == ["80", "53"]
    result = chosen({"network/addresses": "observed"})
    rules = WORLD.infer(result).policy.network.outbound
    assert ("192.0.2.7", "192.0.2.8") in [rule.addresses for rule in rules]
    # Without outbound rules there are no peers to ask about.
    events = answered({"network/rules": ("inbound/tcp/80",)})
    assert "network/addresses" not in [event.what for event in events]


def test_a_range_of_ports_is_one_choice():
    uses = [{**RICH["sockets"][1], "port": port, "address": "192.0.2.1"} for port in range(40000, 40020)]
    world = World([file.parse(as_bytes(tool(call("connect"), sockets=uses)))])
    shown = question("network/rules", world=world)
    assert keys(shown) == ["outbound/tcp/32768-60999"]
    result = chosen({"network/rules": ()}, world=world)
    assert len(result.decisions.ports) == 20
    assert world.infer(result).policy.network.outbound == ()
    # Taken back: the same question again keeps them out, and chosen again they come back.
    assert question("network/rules", world=world, initial=result).default == ()
    back = chosen({"network/rules": tuple(keys(shown))}, world=world, initial=result)
    assert back.decisions.ports == frozenset()


def test_arguments():
    shown = question("arguments/sensitive")
    assert {"socket:0", "socket:1", "socket:2", "mmap:2", "ptrace:0"} == set(keys(shown))
    assert next(one.preview for one in shown.options if one.key == "socket:0") == ("AF_INET", "AF_INET6")
    rest = tuple(key for key in keys(shown) if key != "socket:0")
    result = chosen({"arguments/sensitive": rest})
    assert result.decisions.leave_open == {("socket", 0)}
    rules = {rule.name: rule for rule in WORLD.infer(result).policy.syscalls}
    assert {one.arg for one in rules["socket"].constraints} == {1, 2}
    shown = question("arguments/all", {"arguments/rules": "all"})
    assert "openat:2" in keys(shown)
    result = chosen({"arguments/rules": "none"})
    assert not any(rule.constraints for rule in WORLD.infer(result).policy.syscalls)
    # Nothing is asked about arguments of calls that are not allowed.
    shown = question("arguments/sensitive", {"calls/network": "deny"})
    assert not any(key.startswith("socket") for key in keys(shown))


def test_unseen_arguments_and_other_libraries():
    result = chosen({"arguments/unseen": "enosys", "arguments/portable": "yes"})
    assert (result.decisions.unseen, result.decisions.portable) == (Unseen.ENOSYS, True)
    rules = {rule.name: rule for rule in WORLD.infer(result).policy.syscalls}
    assert rules["clone3"].errno == "ENOSYS"
    ids = [event.what for event in answered({"calls/process": "deny"})]
    assert "arguments/unseen" not in ids


# Laws.


@st.composite
def steps(draw, *, most=30):
    """Any sequence of answers, steps back and parts opened again; the events that it makes."""
    events = []
    for _ in range(draw(st.integers(0, most))):
        now = position(WORLD, Choices(), events)
        kind = draw(st.sampled_from(["answer"] * 8 + ["default"] * 6 + ["undo", "reopen"]))
        if kind == "undo":
            events.append(Event(Did.UNDO))
        elif kind == "reopen":
            events.append(Event(Did.REOPEN, draw(st.sampled_from(list(Part)[:-1]))))
        elif now.question is None:
            break
        else:
            answer = now.question.default if kind == "default" else draw(_answers(now.question))
            events.append(Event(Did.ANSWER, now.question.id, check(now.question, answer)))
    return events


def _answers(asked_question):
    if asked_question.kind is Kind.ONE:
        return st.sampled_from(keys(asked_question))
    if asked_question.kind is Kind.MANY:
        return st.sets(st.sampled_from(keys(asked_question))).map(tuple)
    if asked_question.kind is Kind.ERRNO:
        return st.sampled_from(["EIO", "ENOSYS", "4095"])
    return st.sampled_from(
        ["/**", "/etc/*", "/srv/**", "/srv/in/part?.csv", "${HOME}/x", "/var/lib/app/**", "/nowhere"]
    )


@settings(max_examples=120, deadline=None)
@given(steps())
def test_any_answers_make_valid_choices_that_flags_can_say(events):
    choices = finished(WORLD, Choices(), events)
    choices_form.check(choices)
    assert choices_form.from_document(json.loads(json.dumps(choices_form.to_document(choices)))) == choices
    again = parsed(flags_of(choices))
    assert again == choices
    assert dump(WORLD.infer(again).policy) == dump(WORLD.infer(choices).policy)


@settings(max_examples=80, deadline=None)
@given(steps(), st.data())
def test_undoing_leads_back(events, data):
    before = position(WORLD, Choices(), events)
    part = data.draw(st.sampled_from(list(Part)[:-1]))
    step = Event(Did.REOPEN, part)
    if before.question is not None and data.draw(st.booleans()):
        step = Event(Did.ANSWER, before.question.id, check(before.question, data.draw(_answers(before.question))))
    after = position(WORLD, Choices(), [*events, step, Event(Did.UNDO)])
    assert (after.choices, after.asked, after.parts) == (before.choices, before.asked, before.parts)
    assert (after.question and after.question.id) == (before.question and before.question.id)


@settings(max_examples=80, deadline=None)
@given(steps())
def test_no_protected_place_is_opened_without_a_second_yes(events):
    # A part that is opened again begins with the answers that were given: what was said once needs no third yes.
    answers, last = course.answers_of(events)
    for text in finished(WORLD, Choices(), events).decisions.accept:
        if protected_root(Pattern.parse(text)) is not None and paths(Choices(Decisions(accept=(text,)))).get(text):
            said = [
                key for key, value in (last | answers).items() if value == f"take:{text}" and key.endswith(f"#{text}")
            ]
            assert said, text


@settings(max_examples=100, deadline=None)
@given(steps())
def test_events_are_kept_as_they_are(events):
    assert course.from_plain(json.loads(json.dumps(course.plain(events)))) == tuple(events)


def test_undo_has_an_end():
    assert not course.can_undo([])
    one = Event(Did.ANSWER, "default/action", "log")
    assert course.can_undo([one])
    assert not course.can_undo([one, Event(Did.UNDO)])
    assert course.can_undo([one, Event(Did.UNDO), one])
    assert position(WORLD, Choices(), [Event(Did.UNDO)]).asked == 0


@pytest.mark.parametrize(
    "value",
    [None, [{}], [{"did": "answer"}], [{"did": "jump"}], [{"did": "reopen", "what": "nowhere"}],
     [{"did": "answer", "what": 1, "answer": "x"}], [{"did": "answer", "what": "x", "answer": [1]}], [7]],
)  # fmt: skip
def test_events_that_are_none_are_refused(value):
    with pytest.raises(BadInput):
        course.from_plain(value)


def test_what_is_no_answer_is_refused():
    one = Question("default/x", "?", Kind.ONE, (Option("a", "A"), Option("b", "B")))
    assert check(one, "b") == "b"
    many = Question("default/x", "?", Kind.MANY, one.options)
    assert check(many, ["b", "a"]) == ("a", "b")
    for asked_question, answer in ((one, "c"), (one, ("a",)), (one, None), (many, "a"), (many, ("c",))):
        with pytest.raises(BadInput, match="no answer"):
            check(asked_question, answer)


# A conversation.


def through(conversation):
    while conversation.question.part is not Part.SUMMARY:
        assert conversation.answer(conversation.question.default) is None


def test_a_conversation_keeps_every_step_and_ends():
    kept = []
    talk = Conversation(WORLD, Choices(), keep=kept.append)
    assert talk.where() == "default action (1 of 8), question 1"
    assert not talk.undo() and not kept
    talk.answer("log")
    assert [len(one) for one in kept] == [1]
    with pytest.raises(BadInput):
        talk.answer("nothing of it")
    assert len(kept) == 1
    assert talk.undo() and talk.question.id == "default/action" and len(kept) == 2
    assert talk.question.default == "log"  # what was said is not forgotten
    talk.answer("deny")
    through(talk)
    assert talk.choices == Choices()
    assert "findings:" in talk.question.lines[-1]
    assert talk.answer(Outcome.LATER) is Outcome.LATER
    assert talk.answer(Outcome.QUIT) is Outcome.QUIT
    assert talk.answer(Outcome.WRITE) is Outcome.WRITE


def test_a_part_is_opened_again_with_the_answers_as_they_were():
    talk = Conversation(WORLD, Choices())
    while talk.question.part is not Part.SUMMARY:
        talk.answer("exact" if talk.question.id == "files/srv" else talk.question.default)
    before = talk.choices
    assert talk.answer(Part.FILES) is None
    assert talk.question.id == "files/etc"
    while talk.question.id != "files/srv":
        talk.answer(talk.question.default)
    assert talk.question.default == "exact"
    through(talk)
    assert talk.choices == before
    # And undone: opening it again is a step as well.
    talk.answer(Part.NETWORK)
    assert talk.question.id == "network/rules"
    assert talk.undo() and talk.question.part is Part.SUMMARY


def test_a_resumed_conversation_is_where_it_was():
    talk = Conversation(WORLD, Choices())
    for _ in range(8):
        talk.answer(talk.question.default)
    again = Conversation(WORLD, Choices(), events=course.from_plain(course.plain(talk.events)))
    assert (again.question, again.where()) == (talk.question, talk.where())


# The file.


def test_the_session_file(tmp_path):
    path = tmp_path / "p.interview"
    initial = Choices(Decisions(name="x", accept=("/srv/**",)), ("/tmp/*",))
    digest = session.digest([rich()])
    kept = session.Kept(initial, (Event(Did.ANSWER, "default/action", "log"), Event(Did.UNDO)), digest)
    session.write(path, kept)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert session.read(path, digest) == kept
    session.forget(path)
    session.forget(path)
    with pytest.raises(BadInput, match="no interview to resume"):
        session.read(path, digest)


def test_a_session_file_of_others_is_not_read(tmp_path, monkeypatch):
    path, link = tmp_path / "p.interview", tmp_path / "link"
    session.write(path, session.Kept(Choices(), (), "sha256:0"))
    link.symlink_to(path)
    assert session.read(path, "sha256:0").initial == Choices()
    with pytest.raises(BadInput, match="cannot be read"):
        session.read(link, "sha256:0")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(BadInput, match="is another user's"):
        session.read(path, "sha256:0")


def test_the_digest_is_of_the_recordings_and_not_of_their_order():
    one, other = rich(), file.parse(as_bytes(nginx()))
    assert session.digest([one, other]) == session.digest([other, one, one])
    assert session.digest([one]) != session.digest([one, other])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"captures": "sha256:0"}, "about other captures"),
        ({"version": 2}, "no interview of this version"),
        ({"format": "x"}, "no interview of this version"),
        ({"events": 3}, "is no list"),
        ({"initial": {}}, "holds no choices"),
        ({"initial": {"decisions": {"top": "x"}, "leave_out": []}}, "is no value"),
        ({"initial": {"decisions": {}, "leave_out": ["x"]}}, "absolute"),
    ],
)
def test_bad_session_files_are_refused(tmp_path, change, told):
    path = tmp_path / "p.interview"
    session.write(path, session.Kept(Choices(), (), "sha256:1"))
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **change}))
    with pytest.raises(BadInput, match=told) as caught:
        session.read(path, "sha256:1")
    assert caught.value.source == str(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "null"])
def test_what_is_no_session_file_is_refused(tmp_path, text):
    (tmp_path / "p").write_text(text)
    with pytest.raises(BadInput):
        session.read(tmp_path / "p", "sha256:1")


# Flags.


_calls = st.sampled_from(["read", "write", "socket", "ptrace"])
_places = st.frozensets(st.tuples(_calls, st.integers(0, 5)), max_size=3)
_texts = st.sampled_from(["/a/*", "/b c/**", "/etc/x'y", "${HOME}/z", "/-x", "/\\*", "/n\nl"])
_patterns = st.lists(_texts, max_size=3, unique=True).map(tuple)


@st.composite
def any_choices(draw):
    categories = draw(
        st.dictionaries(st.sampled_from(Category), st.sampled_from([one for one in CategoryChoice if one != "allow"]))
    )
    accept, checked = draw(_patterns), draw(_places)
    ports = st.tuples(st.sampled_from(["inbound", "outbound"]), st.sampled_from(["tcp", "udp"]), st.integers(0, 65535))
    decisions = Decisions(
        name=draw(st.none() | st.text(max_size=5)),
        default_action=draw(st.sampled_from(decision_options.DEFAULT_ACTIONS)),
        default_errno=draw(st.sampled_from(["EPERM", "ENOSYS", "4095"])),
        accept_incomplete=draw(st.booleans()),
        categories=categories,
        top=draw(st.integers(0, 99999)) if CategoryChoice.TOP in categories.values() else 10,
        calls=draw(st.dictionaries(_calls, st.sampled_from(Action))),
        arguments=draw(st.sampled_from(ArgumentRules)),
        check=checked,
        leave_open=draw(_places) - checked,
        unseen=draw(st.sampled_from(Unseen)),
        portable=draw(st.booleans()),
        files=draw(st.booleans()),
        generalise=draw(st.sampled_from(Generalise)),
        accept=accept,
        reject=tuple(one for one in draw(_patterns) if one not in accept),
        missing_files=draw(st.sampled_from(OnMissing)),
        created_files=draw(st.sampled_from(CreatedFiles)),
        home=draw(st.sampled_from([None, "/home/x", "/", "/home/[y]"])),
        network=draw(st.booleans()),
        addresses=draw(st.sampled_from(Addresses)),
        ports=draw(st.frozensets(ports, max_size=3)),
        capabilities=draw(st.booleans()),
    )
    if draw(st.booleans()):
        decisions = decisions.changed(
            transitions=True,
            refine=draw(st.booleans()),
            depth=draw(st.sampled_from([2, 3])),
            serving_from=draw(st.lists(_calls, max_size=2, unique=True).map(tuple)),
            watch=draw(st.none() | st.sampled_from(WatchAction)),
            likely=draw(st.integers(0, 99999)),
        )
    return Choices(decisions, draw(_patterns))


@settings(max_examples=150, deadline=None)
@given(any_choices())
def test_every_choice_has_a_flag(choices):
    assert parsed(flags_of(choices)) == choices
    assert choices_form.from_document(choices_form.to_document(choices)) == choices


def test_command_lines_are_safe_to_print_and_mean_what_they_say():
    words = ["plain", "", "two words", "it's", "a\x1b]0;t\x07\n", "\udcff\udc80", "tab\t'\\"]
    line = command_line(words)
    assert line.isprintable()
    # What the shell that has $'…' makes of it.
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(write, 1)
        os.execvp("bash", ["bash", "-c", f"printf '%s\\0' {line}"])
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        said = stream.read()
    assert os.waitpid(pid, 0)[1] == 0
    assert [os.fsdecode(word) for word in said.split(b"\0")[:-1]] == words
