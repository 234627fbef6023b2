"""What containers ask for: by annotations, by the configuration for images, by their environment."""

import copy
import fnmatch
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer import images, wishes
from scmm_oci.enforcer.shim_settings import Image
from scmm_oci.oci import annotations as names

DIGEST = "0123456789abcdef" * 4
CRI = "io.kubernetes.cri.image-name"


class Settings:
    def __init__(self, *images):
        self.images = [
            Image(image=image, policy=policy, digest=digest, mode=mode) for image, policy, digest, mode in images
        ]


def config(annotations=None, env=None):
    return {
        **({} if annotations is None else {"annotations": annotations}),
        "process": {"args": ["true"], **({} if env is None else {"env": env})},
    }


def read(annotations=None, env=None, *images):
    return wishes.read(config(annotations, env), Settings(*images))


def decided(wish):
    return wish.policy, wish.digest, wish.mode, wish.source


NOTHING = (None, None, "standard", "")


def test_nothing_is_asked_for():
    for given_ in (config(), config({}, []), {}, {"process": None}, config({"a": "b"}, ["PATH=/bin", "x"])):
        before = copy.deepcopy(given_)
        wish = wishes.read(given_, Settings(("*", "web", None, "strict")))
        assert decided(wish) == NOTHING
        assert (wish.record, wish.required, wish.name) == (False, False, None)
        assert (wish.problems, wish.notes, wish.stripped) == ([], [], [])
        assert given_ == before


def test_a_policy_by_annotation():
    assert decided(read({names.POLICY: "web"})) == ("web", None, "standard", "annotation")
    wish = read({names.POLICY: f"web@sha256:{DIGEST.upper()}", names.MODE: "strict"})
    assert decided(wish) == ("web", DIGEST, "strict", "annotation")
    assert wish.problems == []


@pytest.mark.parametrize(
    "value", ["", "../x", ".x", "a/b", "a b", "x" * 129, "web@", "web@sha256:", "web@md5:00", "@x"]
)
@pytest.mark.parametrize("where", ["annotation", "environment"])
def test_names_that_are_none(value, where):
    annotated = where == "annotation"
    wish = read({names.POLICY: value}) if annotated else read(env=[f"SCMM_POLICY={value}"])
    if value or annotated:
        assert len(wish.problems) == 1 and (names.POLICY if annotated else "SCMM_POLICY") in wish.problems[0]
    else:
        assert decided(wish) == NOTHING  # a variable without a value is how one is taken back
        assert wish.problems == []


@pytest.mark.parametrize("digest", [DIGEST[:-1], DIGEST + "0", DIGEST[:-1] + "g", DIGEST[:-1] + "٣"])
def test_digests_that_are_none(digest):
    assert "64 hexadecimal digits" in read({names.POLICY: f"web@sha256:{digest}"}).problems[0]


@pytest.mark.parametrize("mode", ["", "Strict", "off", "none"])
def test_modes_that_are_none(mode):
    for wish in (read({names.POLICY: "web", names.MODE: mode}), read({names.MODE: mode}, ["SCMM_POLICY=web"])):
        assert "known values: standard, strict, seccomp, permissive" in wish.problems[0]
    if mode:
        assert read(env=["SCMM_POLICY=web", f"SCMM_MODE={mode}"]).problems


def test_modes_that_hold_less_are_told():
    """Whoever chose them: under podman an image can, by annotations of its own."""
    for mode, words in (("permissive", "nothing is refused"), ("seccomp", "calls alone")):
        for wish in (read({names.POLICY: "web", names.MODE: mode}), read(env=["SCMM_POLICY=web", f"SCMM_MODE={mode}"])):
            assert [words in one for one in wish.notes] == [True]
    assert read({names.POLICY: "web", names.MODE: "strict"}).notes == []


def test_a_mode_for_no_policy():
    for wish in (read({names.MODE: "strict"}), read(env=["SCMM_MODE=strict"])):
        assert "no policy is named" in wish.problems[0]


def test_a_policy_by_the_environment_and_what_is_left_of_it():
    given_ = config(env=["A=1", "SCMM_POLICY=web", "SCMM_MODE=permissive", "B=SCMM_POLICY=2", "SCMM_RECORD=0", "A=3"])
    wish = wishes.read(given_, Settings())
    assert decided(wish) == ("web", None, "permissive", "environment")
    assert given_["process"]["env"] == ["A=1", "B=SCMM_POLICY=2", "A=3"]
    assert wish.stripped == ["SCMM_MODE", "SCMM_POLICY", "SCMM_RECORD"]


def test_the_image_cannot_take_back_what_an_annotation_says():
    wish = read({names.POLICY: "web"}, ["SCMM_POLICY=lax", "SCMM_MODE=permissive"])
    assert decided(wish) == ("web", None, "standard", "annotation")
    assert wish.problems == []
    assert [one.split("=")[0] for one in wish.notes] == ["SCMM_POLICY", "SCMM_MODE"]
    assert all("is ignored: the annotation scmm.policy='web' decides" in one for one in wish.notes)
    # The twin: who says the same is not spoken of.
    assert read({names.POLICY: "web"}, ["SCMM_POLICY=web", "SCMM_MODE=standard"]).notes == []
    # A mode that is annotated, for a policy that is not.
    wish = read({names.MODE: "strict"}, ["SCMM_POLICY=web", "SCMM_MODE=permissive"])
    assert decided(wish) == ("web", None, "strict", "environment")
    assert len(wish.notes) == 1


def test_nor_what_the_configuration_says():
    rules = [("*/nginx:*", "web", DIGEST, "strict"), ("*", "any", None, "standard")]
    annotations = {CRI: "docker.io/library/nginx:1.25"}
    wish = read(annotations, ["SCMM_POLICY=lax", "SCMM_MODE=permissive"], *rules)
    assert decided(wish) == ("web", DIGEST, "strict", "configuration")
    assert len(wish.notes) == 2 and "the configuration for images '*/nginx:*' decides" in wish.notes[0]
    assert read(annotations, [f"SCMM_POLICY=web@sha256:{DIGEST}"], *rules).notes == []
    # Who annotates the container decides before it.
    assert decided(read({**annotations, names.POLICY: "own"}, None, *rules)) == ("own", None, "standard", "annotation")
    assert decided(read({**annotations, names.MODE: "seccomp"}, None, *rules))[2:] == ("seccomp", "configuration")
    # The twins: another image, and none.
    assert decided(read({CRI: "redis"}, None, *rules))[0] == "any"
    assert decided(read({CRI: "redis"}, None, rules[0])) == NOTHING
    assert decided(read({}, ["SCMM_POLICY=lax"], *rules))[0] == "lax"


@pytest.mark.parametrize("key", images.ANNOTATIONS)
def test_where_engines_name_the_image(key):
    assert decided(read({key: "x"}, None, ("x", "web", None, "standard")))[0] == "web"
    assert decided(read({key.upper(): "x"}, None, ("x", "web", None, "standard"))) == NOTHING


@pytest.mark.parametrize(
    ("kind", "sandbox"),
    [
        ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
        ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
    ],
)
def test_a_pods_sandbox_asks_for_nothing(kind, sandbox):
    asked = {names.POLICY: "web", names.RECORD: "required", names.MODE: "none"}
    pod = {**asked, kind: "sandbox", sandbox: "abc"}
    wish = wishes.read(config(pod, ["SCMM_POLICY=web"]), Settings(), container="abc")
    assert (decided(wish), wish.record, wish.problems) == (NOTHING, False, [])
    assert wish.notes == ["the pod's annotations are for its containers, and this is its sandbox"]
    assert wishes.read(config({kind: "sandbox", sandbox: "abc"}), Settings(), container="abc").notes == []
    # The twins: a container in there, and one whose image only says so.
    for given_, container in (
        ({**pod, kind: "container"}, "def"),
        (pod, "def"),
        (pod, None),
        ({**asked, kind: "sandbox"}, "abc"),
    ):
        wish = wishes.read(config(given_), Settings(), container=container)
        assert (wish.policy, wish.record, len(wish.problems)) == ("web", True, 1)


def test_a_variable_twice():
    assert decided(read(env=["SCMM_POLICY=web", "SCMM_POLICY=web"]))[0] == "web"
    for name, one, other in (
        ("SCMM_POLICY", "web", "lax"),
        ("SCMM_MODE", "strict", "permissive"),
        ("SCMM_RECORD", "1", "required"),
        ("SCMM_RECORD", "required", "0"),
    ):
        wish = read(env=["SCMM_POLICY=web", f"{name}={one}", f"{name}={other}"])
        assert "is there twice" in wish.problems[0]


def test_a_variable_twice_stops_no_container_for_a_recordings_sake():
    """As with `scmm record run -- docker run --env-file`: --env comes behind what the file has."""
    wish = read(
        env=[
            "SCMM_RECORD=0",
            "SCMM_NAME=theirs",
            "SCMM_SOMETHING_LONG=1",
            "SCMM_RECORD=1",
            "SCMM_NAME=ours",
            "SCMM_SOMETHING_LONG=2",
        ]
    )
    assert wish.problems == [] and (wish.record, wish.name) == (True, "ours")
    assert sum("is there twice" in note for note in wish.notes) == 3


def test_misspelt_policies_do_not_start():
    for wish in (read({"scmm.polcy": "web"}), read(env=["SCMM_POLCY=web"]), read({"scmm.modes": "strict"})):
        assert len(wish.problems) == 1 and "did you mean" in wish.problems[0]
    # The twins: a recording stops nothing, and neither does what is no wish of ours.
    for wish in (read({"scmm.recrod": "true"}), read(env=["SCMM_NAMES=x"]), read({"scmm.zzzz": "1"})):
        assert wish.problems == [] and len(wish.notes) == 1
    assert read({"scmmx": "1"}, ["SCM_POLICY=1"]).notes == []
    left = config(env=["SCMM_ZZZZ=1"])
    wishes.read(left, Settings())
    assert left["process"]["env"] == ["SCMM_ZZZZ=1"]


def recording(wish):
    return wish.record, wish.required, wish.name


def test_recordings():
    assert recording(read({names.RECORD: "true", names.NAME: "web-1"})) == (True, False, "web-1")
    assert recording(read({names.RECORD: "required"})) == (True, True, None)
    assert recording(read({names.RECORD: "false"}, ["SCMM_RECORD=1"])) == (False, False, None)
    assert recording(read(env=["SCMM_RECORD=1", "SCMM_NAME=x"])) == (True, False, "x")
    assert recording(read(env=["SCMM_RECORD=required"])) == (True, True, None)
    for off in ("0", "false", ""):
        assert recording(read(env=[f"SCMM_RECORD={off}"])) == (False, False, None)
    assert read({names.RECORD: "true"}, ["SCMM_RECORD=1"]).notes == []


def test_recordings_that_are_not_understood_stop_only_what_requires_them():
    for wish in (read({names.RECORD: "yes"}), read(env=["SCMM_RECORD=yes"])):
        assert recording(wish) == (False, False, None)
        assert wish.problems == [] and "known values: true, required, false" in wish.notes[0]
    wish = read({names.RECORD: "true", names.NAME: "../x"})
    assert recording(wish) == (True, False, None)
    assert wish.problems == [] and "capture name" in wish.notes[0]
    wish = read({names.RECORD: "required", names.NAME: "../x"})
    assert recording(wish) == (True, True, None)
    assert wish.notes == [] and "capture name" in wish.problems[0]


@pytest.mark.parametrize(
    ("given_", "place"),
    [
        ({"annotations": []}, ".annotations"),
        ({"annotations": {"a": 1}}, ".annotations"),
        ({"process": {"env": {}}}, ".process.env"),
        ({"process": {"env": ["a=b", 1]}}, ".process.env"),
    ],
)
def test_malformed(given_, place):
    with pytest.raises(ValueError, match=place):
        wishes.read(given_, Settings())


def test_exec_gets_the_same_environment():
    process = {"env": ["SCMM_POLICY=web", "A=1", "SCMM_RECORD"], "cwd": "/"}
    assert wishes.strip(process) == ["SCMM_POLICY", "SCMM_RECORD"]
    assert process == {"env": ["A=1"], "cwd": "/"}
    for other in ({}, {"env": None}, {"env": ["A=1"]}):
        before = copy.deepcopy(other)
        assert wishes.strip(other) == []
        assert other == before


def test_the_hook_takes_the_annotations_of_the_shim():
    wish = names.read({names.RECORD: "required", names.POLICY: "web", names.MODE: "strict"}, default_name="x")
    assert wish.problems == []
    assert names.read({names.RECORD: "true", "scmm.other": "1"}, default_name="x").problems


# Laws.

GLOBS = st.text("a*?/:", max_size=8)


@given(GLOBS, st.text("ab/:", max_size=8))
def test_globs_are_those_of_shells_without_brackets(glob, text):
    assert images.matches(glob, text) is fnmatch.fnmatchcase(text, glob)


def test_globs_end():
    assert images.matches("*a" * 200, "a" * 2000)
    assert not images.matches("*a" * 200 + "b", "a" * 2000)


VALUES = st.sampled_from(["web", "lax", "strict", "permissive", "true", "required", "1", "", "a b", "../x"])
ENTRIES = st.lists(st.tuples(st.sampled_from([*wishes.VARIABLES, "A", "SCMM_X", "scmm_policy"]), VALUES), max_size=6)


@given(st.dictionaries(st.sampled_from(names.KNOWN), VALUES), ENTRIES)
def test_annotations_decide_whatever_the_environment_says(annotations, entries):
    given_ = config(annotations, [f"{name}={value}" for name, value in entries])
    before = json.dumps({**given_, "process": {**given_["process"], "env": None}})
    wish = wishes.read(given_, Settings())
    if names.POLICY in annotations:
        alone = read(annotations)
        assert decided(wish) == decided(alone)
        assert set(alone.problems) <= set(wish.problems)
    if names.RECORD in annotations:
        assert (wish.record, wish.required) == recording(read(annotations))[:2]
    # Nothing else has changed, and none of ours is left.
    assert json.dumps({**given_, "process": {**given_["process"], "env": None}}) == before
    expected = [f"{name}={value}" for name, value in entries if name not in wishes.VARIABLES]
    assert given_["process"]["env"] == expected


def test_what_is_not_known_is_told_at_no_great_length():
    few = read({"scmm.a1": "x"}, ["SCMM_B1=x", "SCMM_B2=x"])
    assert [note.partition(" (")[0] for note in few.notes] == [
        "unknown annotation 'scmm.a1'",
        "unknown variable 'SCMM_B1'",
        "unknown variable 'SCMM_B2'",
    ]
    # A misspelt policy stays a problem, wherever among them it stands.
    many = read(
        {f"scmm.a{number}": "x" for number in range(20)}, [*(f"SCMM_A{n}=x" for n in range(99)), "SCMM_POLIC=x"]
    )
    assert len(many.notes) == 2 * (8 + 1)
    assert [note for note in many.notes if " more" in note] == [
        "12 unknown annotations more",
        "91 unknown variables more",
    ]
    assert len(many.problems) == 1 and "'SCMM_POLIC'" in many.problems[0]
