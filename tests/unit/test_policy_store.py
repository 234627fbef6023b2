"""The policy store: who may have put there what, names that are no paths, digests, and writers that are killed."""

from __future__ import annotations

import hashlib
import os
import socket
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shim_killed import killed_at
from small_policies import compiled

from scmm_oci.compiled.polfile import layout
from scmm_oci.enforcer import private, store
from scmm_oci.enforcer.store import BadStore, Store

OLD, NEW = compiled("old"), compiled("new")
DIGEST = hashlib.sha256(OLD).hexdigest()


@pytest.fixture
def made(tmp_path) -> Store:
    found = Store(str(tmp_path / "lib/policies"))
    found.add("web", OLD)
    return found


def refused(call, *given, **named) -> list[str]:
    with pytest.raises(BadStore) as raised:
        call(*given, **named)
    assert str(raised.value) == "; ".join(raised.value.problems)
    return raised.value.problems


def is_anothers(path, monkeypatch) -> None:
    """Make a file another user's; for who is not root, make us another user than the one whose all files are."""
    if os.geteuid() == 0:
        os.chown(path, 4711, 4711, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4711)


def place(made, name="web"):
    return os.path.join(made.directory, name + store.SUFFIX)


def test_what_was_added_is_read_listed_and_removed(made):
    assert OLD != NEW
    assert made.read("web") == made.read("web", DIGEST) == OLD
    assert (os.stat(made.directory).st_mode & 0o7777, os.stat(place(made)).st_mode & 0o7777) == (0o700, 0o600)
    assert made.add("api_2.x", NEW) == hashlib.sha256(NEW).hexdigest()
    assert (made.names(), made.strangers()) == (["api_2.x", "web"], [])
    made.remove("web")
    assert made.names() == ["api_2.x"]
    assert refused(made.read, "web") == [
        f"there is no policy web in {made.directory} (`scmm policy list` shows those that there are)"
    ]
    assert refused(made.remove, "web") == refused(made.read, "web")


def test_the_umask_does_not_open_the_store(tmp_path):
    before = os.umask(0)
    try:
        made = Store(str(tmp_path / "deep/er"))
        made.add("web", OLD)
    finally:
        os.umask(before)
    modes = [os.stat(each).st_mode & 0o7777 for each in (tmp_path / "deep", made.directory, place(made))]
    assert modes == [0o700, 0o700, 0o600]


def test_a_name_that_is_nearly_right_is_suggested(made):
    assert "did you mean 'web'?" in refused(made.read, "webb")[0]


def test_without_a_store_there_are_no_policies(tmp_path):
    none = Store(str(tmp_path / "none"))
    assert (none.names(), none.strangers()) == ([], [])
    assert refused(none.read, "web") == [f"there is no policy store {tmp_path}/none: `scmm policy add` makes it"]
    assert not os.path.lexists(tmp_path / "none")
    assert refused(Store("relative").read, "web") == [
        "the policy store cannot be used: relative is not an absolute path"
    ]


def test_a_name_keeps_its_policy_unless_told_otherwise(made):
    inode = os.stat(place(made)).st_ino
    assert made.add("web", OLD) == DIGEST and os.stat(place(made)).st_ino == inode
    assert refused(made.add, "web", NEW) == [
        f"there is another policy web (sha256:{DIGEST}); --replace takes its place"
    ]
    assert made.read("web") == OLD
    made.add("web", NEW, replace=True)
    assert made.read("web") == NEW
    # Who named the old one by its digest does not get the new one.
    assert refused(made.read, "web", DIGEST) == [
        f"the policy web has the digest sha256:{hashlib.sha256(NEW).hexdigest()}, and sha256:{DIGEST} was asked for"
    ]


@pytest.mark.parametrize("digest", ["", "0", DIGEST.upper(), DIGEST[:-1] + "g", DIGEST + "0", f"sha256:{DIGEST}"])
def test_a_digest_that_is_none_is_refused(made, digest):
    (problem,) = refused(made.read, "web", digest)
    assert problem.endswith("is no SHA-256: 64 hexadecimal digits in small letters expected")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../web", "/etc/passwd", "a/b", "-x", ".web", "a\0b", "wéb", "x" * 129]
)
def test_no_name_is_a_path(made, name):
    before = sorted(os.listdir(made.directory))
    for call in (made.read, made.remove, lambda each: made.add(each, NEW)):
        (problem,) = refused(call, name)
        assert problem.isprintable() and "is no name of a policy" in problem
    assert sorted(os.listdir(made.directory)) == before


@given(st.text(max_size=12) | st.text(string.ascii_letters + "./-_\0", max_size=12))
def test_a_name_that_is_taken_is_one_file_of_the_store(name):
    if not store.name_problems(name):
        assert os.path.normpath(f"/s/{name}{store.SUFFIX}") == f"/s/{name}{store.SUFFIX}"
        assert os.path.basename(name) == name and len(os.fsencode(name + store.SUFFIX)) < 255


# Whose it is


def test_a_store_that_others_can_write_is_refused(made, monkeypatch):
    os.chmod(made.directory, 0o770)
    problem = f"the policy store cannot be used: {made.directory} can be written by others (mode 0770): chmod go-w"
    for call in (lambda: made.read("web"), made.names, lambda: made.remove("web"), lambda: made.add("x", NEW)):
        assert refused(call) == [problem]
    os.chmod(made.directory, 0o755)
    assert made.read("web") == OLD
    is_anothers(made.directory, monkeypatch)
    assert f"{made.directory} belongs to uid" in refused(made.read, "web")[0]


def test_a_store_that_others_could_replace_is_refused(made, monkeypatch):
    above = os.path.dirname(made.directory)
    os.chmod(above, 0o777)
    assert refused(made.read, "web") == [
        f"the policy store cannot be used: others could replace {made.directory}: {above} is theirs to write"
    ]
    os.chmod(above, 0o1777)
    assert made.read("web") == OLD


def test_a_store_is_no_link_and_one_above_it_leads_to_what_is_looked_at(made, tmp_path):
    os.symlink(made.directory, tmp_path / "link")
    assert refused(Store(str(tmp_path / "link")).read, "web") == [
        f"the policy store cannot be used: {tmp_path}/link is a symbolic link, which is not followed"
    ]
    os.symlink(os.path.dirname(made.directory), tmp_path / "above")
    linked = Store(str(tmp_path / "above/policies"))
    assert linked.read("web") == OLD
    os.chmod(os.path.dirname(made.directory), 0o777)
    assert "is theirs to write" in refused(linked.read, "web")[0]


def test_a_store_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    assert "Not a directory" in refused(Store(str(tmp_path / "file")).read, "web")[0]
    assert "Not a directory" in refused(Store(str(tmp_path / "file/x")).read, "web")[0]


def as_link(path):
    os.rename(path, path + "~")
    os.symlink(path + "~", path)


def as_fifo(path):
    os.unlink(path)
    os.mkfifo(path, 0o600)


def as_directory(path):
    os.unlink(path)
    os.mkdir(path)


def as_socket(path):
    os.unlink(path)
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(os.path.dirname(path))  # names of sockets are short
        try:
            one.bind(os.path.basename(path))
        finally:
            os.chdir(here)


def as_huge(path):
    os.truncate(path, store.MAX_BYTES + 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (as_link, "is a symbolic link, which is not followed"),
        (as_fifo, "is no regular file"),
        (as_directory, "is no regular file"),
        (as_socket, "is no regular file"),
        (as_huge, f"has {store.MAX_BYTES + 1} bytes; {store.MAX_BYTES} are the most"),
        (lambda path: os.chmod(path, 0o620), "can be written by others (mode 0620): chmod go-w"),
        (lambda path: os.truncate(path, 0), "is no compiled policy; `scmm compile` makes one"),
        (lambda path: os.truncate(path, 100), f"is not whole: it has 100 bytes, and says {len(OLD)}"),
    ],
)
def test_what_is_no_file_of_ours_is_refused(made, change, told):
    change(place(made))
    assert refused(made.read, "web") == [f"{place(made)} {told}"]
    assert made.names() == ["web"]  # told, not passed over
    if change is not as_directory:
        made.add("web", NEW, replace=True)
        assert made.read("web") == NEW


def test_a_file_that_is_anothers_is_refused_with_all_that_is_wrong(made, monkeypatch):
    os.chmod(place(made), 0o666)
    with open(place(made), "r+b") as file:
        file.truncate(store.MAX_BYTES + 1)
    if os.geteuid() == 0:
        os.chown(place(made), 4711, -1)
        (problem,) = refused(made.read, "web")
        assert problem == "; ".join(
            [
                f"{place(made)} belongs to uid 4711, not to root or to us",
                f"{place(made)} can be written by others (mode 0666): chmod go-w",
                f"{place(made)} has {store.MAX_BYTES + 1} bytes; {store.MAX_BYTES} are the most",
            ]
        )
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        assert "belongs to uid" in refused(made.read, "web")[0]


def test_a_file_that_grows_while_it_is_read_is_refused(made, monkeypatch):
    monkeypatch.setattr(store, "MAX_BYTES", len(OLD))
    assert made.read("web") == OLD
    real = os.fstat

    def smaller(descriptor):
        found = real(descriptor)
        return os.stat_result([*found[:6], 0, *found[7:]]) if found.st_size == len(OLD) + 1 else found

    with open(place(made), "ab") as file:
        file.write(b"x")
    monkeypatch.setattr(os, "fstat", smaller)
    assert refused(made.read, "web") == [f"{place(made)} grew beyond {len(OLD)} bytes"]


# What it is


def test_the_frame_is_that_of_compiled_policies():
    assert (store.MAGIC, store.VERSION, store.MAX_BYTES) == (layout.MAGIC, layout.VERSION, layout.MAX_BYTES)
    assert layout.HEADER.size == store.HEADER_SIZE
    assert store.frame_problems(OLD) == []
    assert private.sha256(OLD) == DIGEST


@given(st.binary(max_size=80) | st.integers(0, len(OLD) - 1).map(lambda place: changed(OLD, place)))
def test_only_whole_compiled_policies_are_taken(data):
    # Of one changed byte the reader would know, too; and the shim is no later to tell.
    assert store.frame_problems(data) != []


def changed(data: bytes, place: int) -> bytes:
    # The reserved words and the count of sections are the reader's to look at, and not in the digest.
    place = place if place not in range(10, 16) and place not in range(24, 32) else 0
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"version: '1.0'\n", "the policy is no compiled policy; `scmm compile` makes one"),
        (
            OLD[:8] + b"\1\0" + OLD[10:],
            "the policy is a compiled policy of version 1, and only 2 is read: compile the policy again",
        ),
        (OLD[:-1], f"the policy is not whole: it has {len(OLD) - 1} bytes, and says {len(OLD)}"),
        (OLD[:-1] + b"x", "the policy is damaged: its digest is not that of its content"),
    ],
)
def test_what_is_none_is_not_added(made, data, told):
    assert refused(made.add, "x", data) == [told]
    assert made.names() == ["web"]


def test_all_that_is_wrong_is_told(made):
    assert len(refused(made.add, "a/b", b"")) == 2
    assert len(refused(made.read, "a/b", "0")) == 2


def test_strangers_are_told_and_not_used(made):
    for each in ("notes.txt", "-x.scmm-pol", ".hidden"):
        with open(os.path.join(made.directory, each), "wb") as file:
            file.write(OLD)
    assert (made.names(), made.strangers()) == (["web"], ["-x.scmm-pol", ".hidden", "notes.txt"])


# Writers that end early


def test_a_writer_that_is_killed_leaves_the_old_or_the_new(tmp_path):
    for step in range(100):
        made = Store(str(tmp_path / f"{step}"))
        made.add("web", OLD)
        killed = killed_at(step, lambda made=made: made.add("web", NEW, replace=True))
        assert made.read("web") in (OLD, NEW)
        assert (made.names(), made.strangers()) == (["web"], [])
        made.add("other", NEW)
        assert sorted(os.listdir(made.directory)) == ["other.scmm-pol", "web.scmm-pol"]
        if not killed:
            break
    assert made.read("web") == NEW and 8 < step < 100


def test_a_first_writer_that_is_killed_leaves_a_store_that_works(tmp_path):
    for step in range(100):
        made = Store(str(tmp_path / f"{step}/policies"))
        killed = killed_at(step, lambda made=made: made.add("web", NEW))
        assert made.names() in ([], ["web"])
        made.add("web", NEW)
        assert made.read("web") == NEW
        if not killed:
            break
    assert 8 < step < 100


def test_of_writers_at_once_one_gets_the_name(tmp_path):
    made = Store(str(tmp_path / "policies"))
    begin = os.pipe()
    children = []
    for number in range(8):
        child = os.fork()
        if not child:
            code = 2
            try:
                os.read(begin[0], 1)
                made.add("own" + str(number), OLD)  # one of each writer's own, beside the one that all want
                made.add("web", compiled(f"n{number}"))
                code = 0
            except BadStore as error:
                code = 1 if "there is another policy web" in str(error) else 2
            finally:
                os._exit(code)
        children.append(child)
    os.write(begin[1], b"." * 8)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    for each in begin:
        os.close(each)
    assert codes == [0, *[1] * 7]
    assert (made.names(), made.strangers()) == ([*(f"own{number}" for number in range(8)), "web"], [])
    assert made.read("web") in [compiled(f"n{number}") for number in range(8)]


def test_a_full_disk_changes_nothing(made, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        assert refused(made.add, "web", NEW, replace=True) == [
            f"{place(made)} cannot be written: No space left on device"
        ]
    assert os.listdir(made.directory) == ["web.scmm-pol"] and made.read("web") == OLD
