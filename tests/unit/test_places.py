"""What the shim keeps of containers: two at once on one id, killed at each step, and what a sweep may take away."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shim_killed import killed_at

from rig.process import wait_until
from scmm_oci.enforcer import living, places
from scmm_oci.enforcer.place import Lost
from scmm_oci.enforcer.places import Places, Taken, key_of

ID = "web-1"
PLAN = {"bundle": "/srv/web", "policy": "web", "mode": "standard"}


@pytest.fixture
def run(tmp_path) -> Places:
    return Places(str(tmp_path / "run/containers"))


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "runc").mkdir()
    return tmp_path / "runc"


def make(run, root, container_id=ID) -> None:
    """What the shim does for `create`, until it becomes the runtime."""
    with run.claim(str(root), container_id) as place:
        place.write(config=b"{}", policy=b"policy", plan=PLAN)


def in_child(work) -> int:
    """Do it in a process of its own, which then ends as the runtime does; its id, which nobody has any more."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return child


def created(run, root, container_id=ID) -> Path:
    """A container as runc leaves it after `create`: the shim that became it has ended."""
    in_child(lambda: make(run, root, container_id))
    state = root / container_id
    state.mkdir()
    path = Path(run.directory, key_of(str(root), container_id))
    (state / "state.json").write_text(json.dumps({"config": {"labels": [f"bundle={path}"]}}))
    return path


def delete(root, container_id=ID) -> None:
    for each in (root / container_id).iterdir():
        each.unlink()
    (root / container_id).rmdir()


# A container's life


def test_a_container_from_create_to_the_hook(run, root):
    path = created(run, root)
    assert sorted(os.listdir(path)) == ["config.json", "owner.json", "plan.json", "policy"]
    modes = {each.name: each.stat().st_mode & 0o7777 for each in path.iterdir()}
    assert modes == {"config.json": 0o600, "owner.json": 0o600, "plan.json": 0o600, "policy": 0o444}
    assert [Path(each).stat().st_mode & 0o7777 for each in (path, run.directory)] == [0o700, 0o700]
    assert run.bundles() == {str(path): "/srv/web"}
    with run.find(str(root), ID) as found:
        assert (found.plan(), found.path) == (PLAN, str(path))
        generation, key = found.generation, found.key
    assert run.sweep() == []
    assert run.remove(key, generation) is True  # crun's directory is still there when the hook comes
    assert os.listdir(run.directory) == [] and run.bundles() == {}


def test_the_generation_is_of_who_claimed_and_stays_when_it_becomes_another_program(run, root):
    with run.claim(str(root), ID) as place:
        assert place.generation == living.generation()
    before = subprocess.Popen(["/bin/sh", "-c", "read x; exec /bin/cat"], stdin=subprocess.PIPE)
    start = living.start_of(before.pid)
    before.stdin.write(b"\n")
    before.stdin.flush()
    wait_until(
        lambda: Path(f"/proc/{before.pid}/comm").read_text() == "cat\n", deadline_s=30, what="the shell becomes cat"
    )
    assert living.start_of(before.pid) == start
    before.communicate()
    assert living.start_of(before.pid) is None


def test_roots_and_ids_have_places_of_their_own(run, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert key_of(str(tmp_path / "link"), ID) == key_of(str(tmp_path / "a"), ID)
    keys = {key_of(str(tmp_path / each), one) for each in "ab" for one in ("x", "y")}
    assert len(keys) == 4 and all(len(each) == 24 and each.isalnum() for each in keys)


@given(st.text(max_size=20))
def test_an_id_is_no_path(container_id):
    try:
        key_of("/run/runc", container_id)
    except ValueError:
        return
    assert os.path.basename(container_id) == container_id and container_id not in ("", ".", "..")


@pytest.mark.parametrize("container_id", ["", "..", "a/b", "a\0b", "é"])
def test_what_no_runtime_takes_is_refused(run, root, container_id):
    for call in (run.claim, run.find):
        with pytest.raises(ValueError, match="is not a container id"):
            call(str(root), container_id)
    for key in (container_id, "../" + "a" * 21, "A" * 24, "a" * 25):
        with pytest.raises(ValueError, match="is no key"):
            run.remove(key, "1-1-1")


def test_mounts_of_a_user_namespace_reach_the_policy_and_nothing_else(run, root):
    owner = (100000, 100000) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    with run.claim(str(root), ID) as place:
        place.write(config=b"{}", policy=b"policy", plan=PLAN, owner=owner, reachable=True)
    status = Path(place.path, "policy").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (*owner, 0o444)
    above = [Path(place.path), Path(run.directory), Path(run.directory).parent]
    assert [each.stat().st_mode & 0o7777 for each in above] == [0o711, 0o711, 0o711]
    assert above[2].parent.stat().st_mode & 0o011 == 0  # what is not ours alone to open stays
    assert Path(place.path, "config.json").stat().st_mode & 0o7777 == 0o600
    # The next container has no need of it.
    in_child(lambda: make(run, root, "other"))
    assert Path(run.directory, key_of(str(root), "other")).stat().st_mode & 0o7777 == 0o700


def test_an_error_takes_back_what_was_claimed(run, root, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"), run.claim(str(root), ID) as place:
        place.write(config=b"{}", plan=PLAN)
        assert Path(place.path, "plan.json").exists()
        monkeypatch.setattr(os, "write", full)
        place.write(config=b"{}", plan=PLAN)
    monkeypatch.undo()
    assert os.listdir(run.directory) == []
    make(run, root)
    assert len(os.listdir(run.directory)) == 1


# Two at once


def test_an_id_that_the_runtime_has_is_taken(run, root):
    path = created(run, root)
    before = sorted((each.name, each.stat().st_ino) for each in path.iterdir())
    with pytest.raises(Taken, match="exists already"):
        run.claim(str(root), ID)
    assert sorted((each.name, each.stat().st_ino) for each in path.iterdir()) == before
    (root / "theirs").mkdir()  # made without us
    with pytest.raises(Taken):
        run.claim(str(root), "theirs")
    delete(root)
    run.claim(str(root), ID).close()
    assert os.listdir(path) == ["owner.json"]  # nothing of the one before is left


def test_an_id_that_is_being_made_is_taken_until_its_runtime_ends(run, root):
    make(run, root)
    with pytest.raises(Taken, match="or is being made"):
        run.claim(str(root), ID)
    assert run.sweep() == []
    in_child(lambda: make(run, root, "other"))
    in_child(lambda: make(run, root, "other"))  # the control: that one's runtime ended, and nothing came of it


def test_of_many_at_once_one_gets_the_id(run, root):
    ready, go = os.pipe(), os.pipe()
    told, end = os.pipe(), os.pipe()
    children = []
    for _ in range(8):
        child = os.fork()
        if not child:
            os.write(ready[1], b".")
            os.read(go[0], 1)
            try:
                make(run, root)
                os.write(told[1], b"1")
            except Taken:
                os.write(told[1], b"0")
            except BaseException:
                os.write(told[1], b"x")
            os.read(end[0], 1)  # the runtime is at work
            os._exit(0)
        children.append(child)
    try:
        for _ in children:
            os.read(ready[0], 1)
        os.write(go[1], b"." * 8)
        answers = b"".join(os.read(told[0], 1) for _ in children)
    finally:
        os.write(end[1], b"." * 8)
        for child in children:
            os.waitpid(child, 0)
        for each in (*ready, *go, *told, *end):
            os.close(each)
    assert sorted(answers) == sorted(b"1" + b"0" * 7)
    assert list(run.bundles().values()) == ["/srv/web"]


@contextmanager
def locked(path):
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def has_open(process, path) -> bool:
    with suppress(FileNotFoundError):
        return any(os.path.samefile(each, path) for each in Path(f"/proc/{process}/fd").iterdir())
    return False  # one was closed meanwhile


def test_who_waited_for_a_directory_that_is_removed_makes_it_anew(run, root):
    path = created(run, root)
    delete(root)
    with locked(path) as descriptor:
        child = os.fork()
        if not child:
            code = 1
            os.close(descriptor)  # or it would have the lock itself
            try:
                with run.claim(str(root), ID) as place:
                    place.write(config=b"{}", plan=PLAN)
                code = 0
            finally:
                os._exit(code)
        # Whoever has it open has it to lock it.
        wait_until(lambda: has_open(child, path), deadline_s=30, what="the other waits for the lock")
        for each in path.iterdir():
            each.unlink()
        path.rmdir()
    assert os.waitpid(child, 0)[1] == 0
    assert sorted(os.listdir(path)) == ["config.json", "owner.json", "plan.json"]


def test_a_lock_that_is_kept_is_waited_for_for_some_time(run, root, monkeypatch):
    path = created(run, root)
    delete(root)
    monkeypatch.setattr(places, "WAIT", 0.05)
    before = os.listdir(path)
    with locked(path), pytest.raises(Taken, match="being made for"):
        run.claim(str(root), ID)
    assert os.listdir(path) == before
    run.claim(str(root), ID).close()  # the control: it is free again


# Sweeping


def test_a_sweep_takes_what_is_over_and_no_more(run, root):
    paths = {each: created(run, root, each) for each in ("living", "gone", "cut")}
    delete(root, "gone")
    delete(root, "cut")
    (paths["cut"] / "plan.json").unlink()
    make(run, root, "creating")
    new = Path(run.directory, "0" * 24)  # killed before it wrote anything
    new.mkdir()
    (new / ".owner.json.tmp").write_bytes(b"{")
    (Path(run.directory) / "stranger").mkdir()
    assert set(run.sweep()) == {paths["gone"].name, paths["cut"].name, "0" * 24}
    kept = {paths["living"].name, key_of(str(root), "creating"), "stranger"}
    assert set(os.listdir(run.directory)) == kept
    assert run.sweep() == []
    assert sorted(os.listdir(paths["living"])) == ["config.json", "owner.json", "plan.json", "policy"]


def test_a_sweep_leaves_what_is_locked(run, root):
    path = created(run, root)
    delete(root)
    with locked(path):
        assert run.sweep() == []
    assert run.sweep() == [path.name]


def change(path, **values):
    owner = json.loads((path / "owner.json").read_text())
    (path / "owner.json").write_text(json.dumps({**owner, **values}))


@pytest.mark.parametrize(
    ("values", "stays"),
    [
        ({}, False),
        ({"generation": "1-1-1"}, True),  # of another process namespace: nobody can tell
        ({"mounts": "1"}, False),
        ({"mounts": "1", "root": "/none/runc"}, True),  # its root may be mounted where we do not see it
        ({"root": "/none/runc"}, False),
        ({"generation": 1}, True),
        ({"id": None}, True),
    ],
)
def test_what_cannot_be_told_stays(run, root, values, stays):
    path = created(run, root)
    delete(root)
    change(path, **values)
    assert run.sweep() == ([] if stays else [path.name])
    assert path.exists() == stays


def test_a_root_that_cannot_be_looked_into_keeps_its_containers(run, root, monkeypatch):
    path = created(run, root)
    delete(root)
    real = os.lstat

    def refusing(name, **named):
        if str(name).startswith(str(root)):
            raise PermissionError(13, "Permission denied")
        return real(name, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, "lstat", refusing)
        assert run.sweep() == []
    assert run.sweep() == [path.name]


def test_a_sweep_is_bounded_and_comes_to_all(run, root, monkeypatch):
    monkeypatch.setattr(places, "SWEPT", 2)
    for each in "abcde":
        created(run, root, each)
        delete(root, each)
    keys = sorted(os.listdir(run.directory))
    assert run.sweep(first=keys[4]) == [keys[4], keys[0]]
    assert run.sweep(first="f" * 24) == keys[1:3]
    assert run.sweep() == [keys[3]]
    assert Places(run.directory + "/none").sweep() == []


def test_the_hook_of_an_earlier_container_does_not_remove_the_next(run, root):
    path = created(run, root)
    with run.find(str(root), ID) as found:
        earlier = found.generation
    delete(root)
    created(run, root)
    with run.find(str(root), ID) as found:
        assert found.generation != earlier
        assert run.remove(path.name, earlier) is False
        assert path.exists()
        assert run.remove(path.name, found.generation) is True
    assert not path.exists()


# Exec


def test_a_process_of_exec_stays_while_its_exec_lives(run, root):
    path = created(run, root)

    def execute():
        with run.find(str(root), ID) as found:
            assert Path(found.write_process(b'{"args": []}')).read_bytes() == b'{"args": []}'

    in_child(execute)
    in_child(execute)
    (ended,) = path.glob("exec-*")  # the second one removed the first's
    (path / f".{ended.name}.tmp").write_bytes(b"{")  # killed while it wrote
    execute()
    (mine,) = [*path.glob("exec-*"), *path.glob(".exec-*")]
    assert mine.name == f"exec-{living.generation()}.json" and mine.stat().st_mode & 0o7777 == 0o600
    with run.find(str(root), ID) as found:
        found.write_process(b"{}")
    assert mine.read_bytes() == b"{}"
    delete(root)
    assert run.sweep() == [path.name]


def test_of_containers_that_are_not_ours_there_is_nothing(run, root):
    assert run.find(str(root), ID) is None
    (root / ID).mkdir()
    (root / ID / "state.json").write_text('{"config": {"labels": ["bundle=/srv/web"]}}')
    assert run.find(str(root), ID) is None


def test_a_plan_of_an_earlier_container_is_not_for_one_made_without_us(run, root):
    created(run, root)
    (root / ID / "state.json").write_text('{"config": {"labels": ["bundle=/srv/web"]}}')
    assert run.find(str(root), ID) is None


def test_of_a_runtime_whose_state_is_not_known_the_plan_counts(run, root):
    created(run, root)
    (root / ID / "state.json").rename(root / ID / "sandbox")
    with run.find(str(root), ID) as found:
        assert found.plan() == PLAN


def remove_all(path):
    for each in path.iterdir():
        each.unlink()
    path.rmdir()


def remove_run(path):
    remove_all(path)
    path.parent.rmdir()


def write_by_others(path):
    path.chmod(0o777)


def link(path):
    path.rename(f"{path}~")
    path.symlink_to(f"{path}~")


def link_plan(path):
    (path / "plan.json").rename(path / "plan~")
    (path / "plan.json").symlink_to("plan~")


@pytest.mark.parametrize(
    "lose",
    [
        lambda path: (path / "plan.json").unlink(),
        lambda path: (path / "plan.json").write_text("[]"),
        lambda path: (path / "plan.json").write_text("{"),
        lambda path: (path / "plan.json").write_bytes(b" " * ((1 << 20) + 1)),
        lambda path: (path / "plan.json").chmod(0o666),
        lambda path: (path / "owner.json").write_text("{}"),
        link_plan,
        link,
        remove_all,
        remove_run,
        write_by_others,
    ],
)
def test_what_was_enforced_and_is_lost_is_refused(run, root, lose):
    path = created(run, root)
    run.find(str(root), ID).close()
    lose(path)
    with pytest.raises((Lost, OSError, ValueError)) as raised:
        found = run.find(str(root), ID)
        with found:
            found.plan()
    assert str(raised.value)


def test_a_state_that_cannot_be_read_is_refused(run, root, monkeypatch):
    created(run, root)
    state = root / ID / "state.json"
    with open(state, "ab") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(Lost, match="is larger than"):
        run.find(str(root), ID)
    state.unlink()
    state.symlink_to("state.json")
    with pytest.raises(Lost, match="cannot be told"):
        run.find(str(root), ID)


# Whose it is


@pytest.mark.parametrize("how", ["writable", "link", "file", "replaceable"])
def test_a_directory_that_others_could_change_is_refused(run, root, how):
    path = created(run, root)
    directory = Path(run.directory)
    if how == "writable":
        directory.chmod(0o757)
    elif how == "link":
        directory.rename(f"{directory}~")
        directory.symlink_to(f"{directory}~")
    elif how == "file":
        remove_run(path)
        directory.write_text("")
    else:
        directory.parent.chmod(0o777)
    for call in (
        lambda: run.claim(str(root), "new"),
        lambda: run.find(str(root), ID),
        run.sweep,
        run.bundles,
        lambda: run.remove("0" * 24, "1-1-1"),
    ):
        with pytest.raises(OSError, match=r"written by others|symbolic link|Not a directory|theirs to write"):
            call()


# Killed


def test_who_is_killed_leaves_nothing_that_counts_and_nothing_that_stays(tmp_path, root):
    for step in range(200):
        run = Places(str(tmp_path / f"run{step}/containers"))
        killed = killed_at(step, lambda run=run: make(run, root))
        # Either nothing was decided, or all of it is there.
        for bundle in run.bundles():
            assert sorted(os.listdir(bundle)) == ["config.json", "owner.json", "plan.json", "policy"]
        if os.path.isdir(run.directory):
            before = os.listdir(run.directory)
            assert run.sweep() == before and os.listdir(run.directory) == []
        if not killed:
            break
    assert 20 < step < 200


def test_who_is_killed_does_not_keep_the_id(tmp_path, root):
    for step in range(200):
        run = Places(str(tmp_path / f"run{step}/containers"))
        killed = killed_at(step, lambda run=run: make(run, root))
        make(run, root)
        (key,) = os.listdir(run.directory)
        assert sorted(os.listdir(Path(run.directory, key))) == ["config.json", "owner.json", "plan.json", "policy"]
        if not killed:
            break
    assert 20 < step < 200


def test_a_sweep_that_is_killed_is_ended_by_the_next(tmp_path, root):
    for step in range(200):
        run = Places(str(tmp_path / f"run{step}/containers"))
        in_child(lambda run=run: make(run, root))
        killed = killed_at(step, run.sweep)
        run.sweep()
        assert os.listdir(run.directory) == []
        if not killed:
            break
    assert 5 < step < 200


# Processes


def test_a_process_lives_until_it_is_a_zombie():
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    namespace = living.generation().rpartition("-")[2]
    word = f"{child.pid}-{living.start_of(child.pid)}-{namespace}"
    assert living.is_alive(word)
    assert not living.is_alive(f"{child.pid}-{int(living.start_of(child.pid)) + 1}-{namespace}")  # its id, used again
    assert living.is_alive(f"{child.pid}-0-{int(namespace) + 1}")
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{child.pid}").exists() and not living.is_alive(word)
    child.communicate()
    assert not living.is_alive(word)


@given(st.text(max_size=12) | st.from_regex(r"[0-9-]{0,12}", fullmatch=True))
def test_what_is_no_generation_lives_nowhere(word):
    parts = word.split("-")
    if len(parts) != 3 or not all(each.isascii() and each.isdigit() for each in parts):
        assert not living.is_alive(word)


def test_a_program_may_have_any_name(tmp_path):
    odd = tmp_path / ") Z 1 ("
    odd.symlink_to("/bin/cat")
    child = subprocess.Popen([odd], stdin=subprocess.PIPE)
    start = living.start_of(child.pid)
    assert start is not None and int(start) > 1
    child.communicate()
