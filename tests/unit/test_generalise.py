import cProfile
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.errors import BadInput
from scmm_oci.policy.paths import names
from scmm_oci.policy.paths.generalise import Need, ProposalKind, alternatives, propose
from scmm_oci.policy.paths.patterns import Pattern, PatternSet, covers
from scmm_oci.policy.paths.proposals import Evidence, confidence
from scmm_oci.policy.paths.protected import is_secret, protected_root


def need(path, *access, seen=(0,), **rest):
    return Need(path, frozenset(access), recordings=frozenset(seen), **rest)


def read(path, *seen):
    return need(path, "read_file", seen=seen or (0,))


def made(path, *seen, **rest):
    return need(path, "write_file", seen=seen or (0,), created=True, **rest)


def listed(path, *seen):
    return need(path, "read_dir", seen=seen or (0,), directory=True, listed=True)


def automatic(needs, recordings=1, **rest):
    return {one.pattern.text: set(one.needs) for one in propose(needs, recordings=recordings, **rest) if one.automatic}


def asked(needs, recordings=1, **rest):
    found = propose(needs, recordings=recordings, **rest)
    return {one.pattern.text: one.protected for one in found if not one.automatic}


def admits(needs, path, access, recordings=1):
    """Whether a policy of exact rules and the automatic proposals grants the right on the path."""
    taken = [one for one in propose(needs, recordings=recordings) if one.automatic]
    return any(one.pattern.grants(path) and access in one.access for one in taken) or any(
        Pattern.exact(one.path).grants(path) and access in one.access for one in needs if not one.created
    )


# What a program makes.


@pytest.mark.parametrize(
    "name",
    [
        *("tmpab12cd3_", "tmp.Ab3xZ9kLm1", "sess_9fk2Lq8Za", "app-7.sock", "7", "temp-123.rdb", "0000000001"),
        *("3f2a9c0d", "550e8400-e29b-41d4-a716-446655440000", "log.20261125", "worker123"),
    ],
)
def test_made_names_that_look_as_if_they_varied(name):
    holder = need("/tmp", "make_reg", "remove_file", directory=True)
    (one,) = propose([holder, made(f"/tmp/{name}"), read("/tmp/in")], recordings=1)
    assert (one.pattern.text, one.kind, one.automatic) == ("/tmp/**", ProposalKind.RECURSIVE, True)
    assert one.access == {"make_reg", "remove_file", "write_file"}
    assert one.needs == ("/tmp", f"/tmp/{name}")  # what is only read has a rule of its own
    assert "1 path made here" in one.reason
    assert one.allows.startswith("make_reg, remove_file, write_file for /tmp and everything beneath it")


@pytest.mark.parametrize(
    "name", ["app.pid", "data.db", "x86_64.cache", "utf8", "python3.11", "README", "sha256", "db1"]
)
def test_made_names_that_are_fixed_are_there_to_be_chosen(name):
    assert automatic([made(f"/tmp/{name}")]) == {}
    assert asked([made(f"/tmp/{name}")]) == {"/tmp/**": None}


def test_what_cannot_be_made_beforehand_needs_its_directory():
    assert automatic([made("/tmp/app.sock", exclusive=True)]) == {"/tmp/**": {"/tmp/app.sock"}}


def test_made_names_that_differ_between_recordings():
    needs = [made("/tmp/ada", 0), made("/tmp/bob", 1), made("/tmp/always", 0, 1)]
    assert set(automatic(needs, 2)) == {"/tmp/**"}
    (one,) = propose(needs, recordings=2)
    assert "2 of them not in every recording" in one.reason
    # Control: the same names in each.
    assert automatic([made("/tmp/ada", 0, 1), made("/tmp/bob", 0, 1), made("/tmp/always", 0, 1)], 2) == {}


def test_numbered_siblings():
    assert set(automatic([made("/tmp/db1"), made("/tmp/db2")])) == {"/tmp/**"}
    assert automatic([made("/tmp/db1"), made("/tmp/dc")]) == {}


def test_a_directory_of_the_programs_own():
    logs = [made("/var/log/nginx/access.log"), made("/var/log/nginx/error.log")]
    assert set(automatic(logs)) == {"/var/log/nginx/**"}
    assert automatic(logs[:1]) == {}
    assert automatic([made("/var/log/access.log"), made("/var/log/error.log")]) == {}
    assert automatic([made("/var/tmp/access.log"), made("/var/tmp/error.log")]) == {}


def test_the_nearest_directory_that_was_there():
    needs = [
        need("/srv/app/work", "make_reg", directory=True, created=True, exclusive=True),
        made("/srv/app/work/result"),
        need("/srv/app", "make_dir", directory=True),
    ]
    (one,) = propose(needs, recordings=1)
    assert (one.pattern.text, one.automatic) == ("/srv/app/**", True)
    assert one.access == {"make_dir", "make_reg", "write_file"}
    # Control: a directory that was there.
    assert asked([need("/srv/app/work", directory=True), made("/srv/app/work/result")]) == {"/srv/app/work/**": None}


def test_fixed_names_with_more_rights_stay_exact():
    needs = [made("/tmp/tmp.Ab3xZ9kLm1"), need("/tmp/state", "write_file", "read_file", created=True), made("/tmp/log")]
    assert automatic(needs) == {"/tmp/**": {"/tmp/tmp.Ab3xZ9kLm1", "/tmp/log"}}


def test_what_is_made_and_executed_is_asked_for():
    tool = need("/tmp/tmpab12cd3_", "write_file", "execute", created=True)
    assert automatic([tool]) == {}
    assert asked([tool]) == {"/tmp/**": None}
    found = propose([tool, made("/tmp/tmp.Ab3xZ9kLm1")], recordings=1)
    assert [(one.automatic, "execute" in one.access) for one in found] == [(True, False), (False, True)]


def test_a_directory_with_credentials_is_asked_for():
    needs = [made("/data/temp-7.rdb"), read("/data/tls/server.key")]
    assert automatic(needs) == {}
    assert asked(needs) == {"/data/**": "/data/tls/server.key"}
    assert set(automatic([made("/data/temp-7.rdb"), read("/data/tls/server.crt")])) == {"/data/**"}


def test_one_tree_is_not_given_twice():
    needs = [made("/tmp/a-1"), made("/tmp/sub/b-2"), need("/tmp/sub", directory=True)]
    assert automatic(needs) == {"/tmp/**": {"/tmp/a-1", "/tmp/sub/b-2"}}
    # With more rights it stands for itself.
    more = [made("/tmp/a-1"), need("/tmp/sub/b-2", "write_file", "truncate", created=True)]
    assert set(automatic(more)) == {"/tmp/**", "/tmp/sub/**"}
    # What is there already and takes no more rights than what is made.
    assert automatic([made("/tmp/a-1"), need("/tmp/log/x", "write_file")]) == {"/tmp/**": {"/tmp/a-1", "/tmp/log/x"}}


# Directories of a run.


def test_directories_that_vary():
    needs = [read("/data/job-17/input.csv", 0), read("/data/job-18/input.csv", 1)]
    (one,) = propose(needs, recordings=2)
    assert (one.pattern.text, one.kind, one.automatic) == ("/data/job-*/input.csv", ProposalKind.TEMPLATE, True)
    assert one.needs == ("/data/job-17/input.csv", "/data/job-18/input.csv")
    assert automatic([read("/data/ada/in", 0), read("/data/bob/in", 1)], 2).keys() == {"/data/*/in"}
    # Controls: in every recording; other files beneath.
    assert propose([read("/data/job-17/a", 0, 1), read("/data/job-18/a", 0, 1)], recordings=2) == ()
    assert automatic([read("/data/ada/in", 0), read("/data/bob/out", 1)], 2) == {}


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/data/550e8400-e29b-41d4-a716-446655440000/in", "/data/*/in"),
        ("/data/run-3f2a9c0d1e/in", "/data/run-*/in"),
        ("/srv/q/2024/in", "/srv/q/*/in"),
        ("/data/3f2a9c0d1e.json", "/data/*.json"),
        ("/data/[x]/1732550400", "/data/\\[x]/*"),
    ],
)
def test_existing_names_that_look_as_if_they_varied(path, template):
    assert automatic([read(path)]) == {template: {path}}
    # Fixed if it is the same every time.
    assert propose([read(path, 0, 1)], recordings=2) == ()


@pytest.mark.parametrize(
    "path",
    [
        *("/usr/lib/debug/.build-id/3f2a9c0d1e.debug", "/usr/share/x/2024/in", "/opt/app-3f2a9c0d1e/bin/app"),
        *("/usr/lib/x86_64-linux-gnu/libc.so.6", "/data/15/main", "/app/static/index.html", "/app/data1/x"),
        *("/srv/www/404.html", "/srv/www/2024.csv"),
    ],
)
def test_fixed_files_stay_exact(path):
    assert automatic([read(path)]) == {}


def test_what_is_made_in_a_directory_that_varies():
    needs = [
        need("/data/job-17", "read_dir", "make_reg", directory=True),
        need("/data/job-18", "read_dir", "make_reg", directory=True, seen=[1]),
        made("/data/job-17/out", 0),
        made("/data/job-18/out", 1),
    ]
    assert automatic(needs, 2) == {"/data/job-*/**": {one.path for one in needs}}


def test_a_directory_that_is_read_and_varies_is_a_tree():
    assert automatic([listed("/data/job-171")]) == {"/data/job-*/**": {"/data/job-171"}}
    assert automatic([listed("/data/job-171/in")]) == {"/data/job-*/in": {"/data/job-171/in"}}


def test_series_of_short_numbers():
    shards = [read(f"/data/shard-{number}/x") for number in range(3)]
    assert set(automatic(shards)) == {"/data/shard-*/x"}
    assert automatic(shards[:2]) == {}
    assert set(automatic([read(f"/data/in/db{number}") for number in range(3)])) == {"/data/in/db*"}


# Directories of files.


def test_what_a_program_lists_and_opens():
    files = [read("/app/plugins/ada"), read("/app/plugins/bob")]
    (one,) = [one for one in propose([listed("/app/plugins"), *files], recordings=1) if one.automatic]
    assert (one.pattern.text, one.kind, one.access) == ("/app/plugins/*", ProposalKind.DIRECTORY, {"read_file"})
    assert one.needs == ("/app/plugins/ada", "/app/plugins/bob")
    assert "lists the directory and opens 2 files" in one.reason
    assert automatic(files) == {}
    assert automatic([listed("/app/plugins"), files[0]]) == {}


def test_files_that_come_and_go_between_recordings():
    assert set(automatic([read("/app/x/ada", 0, 1), read("/app/x/bob", 1)], 2)) == {"/app/x/*"}
    assert automatic([read("/app/x/ada", 0, 1), read("/app/x/bob", 0, 1)], 2) == {}
    # The directory is used in one recording only: nothing there differs between two.
    assert automatic([read("/app/x/ada", 1), read("/app/x/bob", 1)], 2) == {}


def test_many_files_of_one_kind():
    files = [read(f"/app/static/{name}.html") for name in ("ab", "cd", "ef", "gh", "ij", "kl", "mn", "op")]
    assert set(automatic(files)) == {"/app/static/*"}
    assert automatic(files[1:]) == {}
    assert asked(files[1:]) == {"/app/static/*": None}
    others = [read(f"/app/static/{name}") for name in ("a.css", "b.js", "c.png")]
    assert automatic([*files, *others]) == {}
    numbered = [read(f"/data/in/part-{number}.csv") for number in range(8)]
    assert automatic(numbered).keys() == {"/data/in/part-*.csv"}  # tighter than all files


def test_files_that_are_executed_are_named():
    tools = [need(f"/app/bin/{name}", "execute", "read_file", seen=seen) for name, seen in (("a", (0, 1)), ("b", (1,)))]
    assert automatic([listed("/app/bin", 0, 1), *tools], 2) == {}
    assert automatic([need("/app/3f2a9c0d1e", "execute")]) == {}
    assert set(automatic([need("/data/3f2a9c0d1e/tool", "execute")])) == {"/data/*/tool"}


def test_files_that_are_written():
    def table(name, *seen):
        return need(f"/data/db/{name}", "read_file", "write_file", seen=seen)

    assert set(automatic([table("ada", 0), table("bob", 1), listed("/data/db", 0, 1)], 2)) == {"/data/db/*"}
    # Reading asks for less than writing.
    assert automatic([table("ada", 0, 1), table("bob", 1), listed("/data/db", 0, 1)], 2) == {}
    assert set(automatic([read("/data/db/ada", 0, 1), read("/data/db/bob", 1)], 2)) == {"/data/db/*"}


def test_trees():
    library = "/usr/lib/python3.11"
    needs = [listed(f"{library}/{name}") for name in "abc"]
    needs += [read(f"{library}/{name}/{file}.py") for name in "abc" for file in "xy"]
    (one,) = [one for one in propose(needs, recordings=1) if one.automatic]
    assert (one.pattern.text, one.kind, one.access) == (f"{library}/**", ProposalKind.RECURSIVE, {"read_file"})
    assert len(one.needs) == 6
    assert "3 of 3 sub-directories" in one.reason
    # One that has none of its own: the tree is asked for, the directories stand for themselves.
    other = read(f"{library}/d/x.py")
    assert set(automatic([*needs, other])) == {f"{library}/{name}/*" for name in "abc"}
    assert asked([*needs, other])[f"{library}/**"] is None
    # Two make no tree.
    assert f"{library}/**" not in {**automatic(needs[1:3] + needs[5:]), **asked(needs[1:3] + needs[5:])}


def test_versions_of_libraries():
    libraries = "/usr/lib/x86_64-linux-gnu"
    assert asked([read(f"{libraries}/libz.so.1.2.13")]) == {f"{libraries}/libz.so*": None}
    assert propose([read("/data/libz.so.1.2.13")], recordings=1) == ()
    assert propose([read(f"{libraries}/gconv-modules.cache")], recordings=1) == ()


def test_languages_and_time_zones():
    zones = [read("/usr/share/zoneinfo/Europe/Berlin", 0), read("/usr/share/zoneinfo/UTC", 1)]
    assert set(automatic(zones, 2)) == {"/usr/share/zoneinfo/**"}
    assert asked(zones[:1]) == {"/usr/share/zoneinfo/**": None}


# Processes, homes, protected roots.


def test_processes():
    needs = [read("/proc/self/task/12/comm"), read("/proc/77/stat"), read("/proc/self/status"), read("/proc/meminfo")]
    assert automatic(needs) == {"/proc/self/task/**": {"/proc/self/task/12/comm"}}
    assert asked(needs) == {"/proc/**": "/proc"}


def test_home():
    needs = [read("/home/ada/.config/x"), read("/home/adam/y"), read("/home/ada/.ssh/config"), read("/srv/z")]
    assert automatic(needs, home="/home/ada") == {"${HOME}/.config/x": {"/home/ada/.config/x"}}
    assert automatic(needs) == {}
    assert automatic(needs, home="/") == {}
    with pytest.raises(BadInput):
        propose(needs, recordings=1, home="ada")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        *(("/", "/"), ("/**", "/"), ("/*", "/"), ("/e*/x", "/"), ("/etc", "/etc"), ("/etc/nginx/*", "/etc")),
        *(("/etc2/**", None), ("/proc/**", "/proc"), ("/proc/self/**", "/proc"), ("/proc/self/task/**", None)),
        *(("/proc/self/taskx/**", "/proc"), ("/sys/x/*", "/sys"), ("/dev/pts/**", "/dev"), ("/dev/shm/**", None)),
        *(("/dev/shm2/**", "/dev"), ("/root/x/**", "/root"), ("/home/**", "/home"), ("/home/ada/x/*", "/home/ada")),
        *(("${HOME}/.cache/**", "${HOME}"), ("/usr/**", "/usr"), ("/usr/*", "/usr"), ("/usr/*/**", "/usr")),
        *(("/usr/lib/**", "/usr/lib"), ("/usr/lib/*", None), ("/usr/lib/python3.11/**", None), ("/usr2/**", None)),
        *(("/usr/lib/aarch64-linux-gnu/**", "/usr/lib/aarch64-linux-gnu"), ("/usr/lib/aarch64-linux-gnu/*", None)),
        *(("/usr/bin/*", "/usr/bin"), ("/var/lib/**", "/var/lib"), ("/var/lib/*", None), ("/var/lib/app/**", None)),
        *(("/var/lib/d*/**", "/var/lib/docker"), ("/var/log/**", "/var/log"), ("/run/**", "/run")),
        *(("/run/app/**", None), ("/run/secrets/x/*", "/run/secrets"), ("/run/s*/**", "/run/secrets")),
        *(("/tmp/**", None), ("/var/tmp/**", None), ("/data/**", None), ("/data/.ssh/*", "/data/.ssh")),
        *(("/data/*.key", "/data/*.key"), ("/data/*.csv", None), ("/opt/**", "/opt"), ("/opt/app/**", None)),
    ],
)
def test_protected_roots(text, where):
    assert protected_root(Pattern.parse(text)) == where


def test_secrets():
    assert is_secret("/data/.ssh/known_hosts")
    assert is_secret("/data/id_ed25519")
    assert not is_secret("/data/.sshx/id_ed25519.pub")


@pytest.mark.parametrize("root", ["/etc/app", "/home/ada/app", "/root/app", "/sys/app", "/dev/app", "/run", "/var/lib"])
def test_protected_roots_are_not_opened_unasked(root):
    needs = [made(f"{root}/tmp.Ab3xZ9kLm1", exclusive=True), listed(root), read(f"{root}/a"), read(f"{root}/b")]
    assert f"{root}/**" not in automatic(needs)
    assert asked(needs)[f"{root}/**"] is not None


def test_alternatives():
    def texts(path, **rest):
        return [one.text for one in alternatives(path, **rest)]

    assert texts("/srv/app/v1/x") == ["/srv/app/v1/x", "/srv/app/v1/*", "/srv/app/v1/**", "/srv/app/**"]
    assert texts("/etc/app/x") == ["/etc/app/x"]
    assert texts("/usr/lib/x") == ["/usr/lib/x", "/usr/lib/*"]
    assert texts("/a*/x") == [r"/a\*/x", r"/a\*/*", r"/a\*/**"]
    assert texts("/srv/app/.ssh/x") == ["/srv/app/.ssh/x"]
    assert texts("/home/ada/x/y", home="/home/ada/") == ["/home/ada/x/y", "${HOME}/x/y"]
    assert texts("/x") == ["/x"]
    with pytest.raises(BadInput):
        alternatives("x")


def test_confidence():
    one, two = Evidence(0.8, 1, ""), Evidence(0.5, 2, "")
    assert confidence([]) == 0
    assert confidence([one]) == 0.4
    assert confidence([one, two]) == 0.62  # 1 − 0.6 · 0.625
    assert confidence([Evidence(1, 10**6, "")]) == 1


def test_needs_that_no_rule_can_name_and_missing_ones_are_no_evidence():
    bad = ["relative", "/a/../b", "/a//b", "/a/", "/", "/a\0", "/a/\ud800", "/" + "a" * 1024, "/d" * 33]
    needs = [need(path, "read_file", created=True, exclusive=True) for path in bad]
    assert propose(needs, recordings=1) == ()
    longest = [need(path, "read_file", created=True, exclusive=True) for path in ("/" + "*" * 1023, "/d" * 32)]
    assert {path for one in propose(longest, recordings=1) for path in one.needs} == {one.path for one in longest}
    assert propose([need("/data/3f2a9c0d1e", "read_file", missing=True)], recordings=1) == ()
    assert propose([need("/data/3f2a9c0d1e")], recordings=1) == ()
    with pytest.raises(ValueError, match="recording 1 of 1"):
        propose([read("/a", 1)], recordings=1)


def test_a_top_level_directory_is_not_the_programs_own():
    assert automatic([made("/data/access.log"), made("/data/error.log")]) == {}
    assert set(automatic([made("/data/log/access.log"), made("/data/log/error.log")])) == {"/data/log/**"}


def test_a_tree_that_is_asked_for_is_no_branch():
    def trees(weak):
        needs = []
        for tree in "abc":
            needs += [listed(f"/app/x/{tree}/{name}") for name in "abc"]
            needs += [read(f"/app/x/{tree}/{name}/{file}.py") for name in "abc" for file in "xy"]
            needs += [read(f"/app/x/{tree}/weak/x.py")] if weak else []
        return needs

    assert set(automatic(trees(weak=False))) == {"/app/x/**"}
    assert set(automatic(trees(weak=True))) == {f"/app/x/{tree}/{name}/*" for tree in "abc" for name in "abc"}
    assert "/app/x/**" not in asked(trees(weak=True))


def test_modules_are_fixed_when_a_program_is_built():
    def files(ending):
        return [read(f"/app/modules/{name}.{ending}") for name in ("ab", "cd", "ef", "gh", "ij", "kl", "mn", "op")]

    assert automatic(files("so")) == {}
    assert set(automatic(files("conf"))) == {"/app/modules/*"}


def test_installed_software_is_not_written():
    def tables(directory):
        return [need(f"{directory}/{name}", "write_file", seen=[index]) for index, name in enumerate(("ada", "bob"))]

    assert automatic(tables("/opt/app/db"), 2) == {}
    assert set(automatic(tables("/data/app/db"), 2)) == {"/data/app/db/*"}


def test_credentials_stand_for_nothing_but_themselves():
    files = [read(f"/app/x/{name}") for name in ("a", "b", "c", "server.key")]
    (one,) = propose([listed("/app/x"), *files], recordings=1)
    assert (one.automatic, one.protected) == (False, "/app/x/server.key")
    assert one.needs == ("/app/x/a", "/app/x/b", "/app/x/c")
    assert asked([made("/data/temp-7.rdb"), read("/data/.ssh/known_hosts")]) == {"/data/**": "/data/.ssh"}
    # What the program itself makes is no secret from it.
    assert set(automatic([made("/data/tls/server.key", exclusive=True)])) == {"/data/tls/**"}


def test_libraries_of_which_recordings_took_different_versions():
    def versions(*access):
        return [need(f"/usr/lib/x/libz.so.{number}.1", *access, seen=[index]) for index, number in enumerate((1, 2))]

    assert set(automatic(versions("read_file", "ioctl_dev"), 2)) == {"/usr/lib/x/libz.so*"}
    assert automatic(versions("execute"), 2) == {}


def test_what_lies_in_a_directory_that_was_made():
    directory = need("/srv/app/work", "make_reg", directory=True, created=True, exclusive=True)
    inside = read("/srv/app/work/in")
    assert automatic([directory, inside]) == {"/srv/app/**": {"/srv/app/work", "/srv/app/work/in"}}
    assert automatic([need("/srv/app/work", "make_reg", directory=True), inside]) == {}
    deeper = made("/srv/app/work/sub/deep/x")
    assert automatic([directory, deeper]) == {"/srv/app/**": {"/srv/app/work", "/srv/app/work/sub/deep/x"}}


def test_what_holds_a_file_is_a_directory():
    needs = [need("/data/3f2a9c0d1e", "read_dir"), read("/data/3f2a9c0d1e/in")]
    assert automatic(needs) == {"/data/*/**": {"/data/3f2a9c0d1e"}, "/data/*/in": {"/data/3f2a9c0d1e/in"}}


def test_what_an_automatic_one_allows_is_not_asked_for():
    tables = [need(f"/data/db/{name}", "read_file", "write_file", seen=[index]) for index, name in enumerate("xy")]
    fixed = [read(f"/data/db/{name}", 0, 1) for name in "abc"]
    assert [one.automatic for one in propose([*tables, *fixed], recordings=2)] == [True]
    assert asked(fixed, 2) == {"/data/db/*": None}


# A second run of the same workload.


def workload(seed):
    """What a program does in one run: reads fixed files and those of a job, makes temporary ones and a database."""
    chance = random.Random(seed)
    number = chance.randrange(100, 30000)
    letters = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789_", k=8))
    digest = f"{chance.getrandbits(160):040x}"
    return [
        read("/etc/app.conf"),
        read("/usr/lib/x86_64-linux-gnu/libc.so.6"),
        need("/tmp", "make_reg", "make_dir", "remove_file", directory=True),
        made(f"/tmp/tmp{letters}", exclusive=True),
        need(f"/tmp/run-{number}", directory=True, created=True, exclusive=True),
        made(f"/tmp/run-{number}/result"),
        need("/var/lib/app", "make_reg", "refer", "remove_file", directory=True),
        made(f"/var/lib/app/temp-{number}.rdb"),
        made("/var/lib/app/dump.rdb"),
        read(f"/data/job-{number}/input.csv"),
        read(f"/data/blobs/{digest}.bin"),
        read(f"/proc/self/task/{number}/comm"),
    ]


def missed(policy, run, recordings=1):
    return [one.path for one in run for right in one.access if not admits(policy, one.path, right, recordings)]


@pytest.mark.parametrize("seed", range(20))
def test_a_policy_of_one_run_admits_another(seed):
    first, second = workload(seed), workload(seed + 1000)
    assert missed(first, second) == []
    # Control: exact rules do not.
    exact = {one.path for one in first}
    assert len([one for one in second if one.path not in exact]) == 7
    # Nothing beyond: what lies beside the fixed files, and other rights.
    for path in (
        "/etc/passwd",
        "/usr/lib/x86_64-linux-gnu/libm.so.6",
        "/data/job-1/other",
        "/data/x",
        "/proc/self/mem",
    ):
        assert not admits(first, path, "read_file")
    assert not admits(first, "/tmp/x", "execute")
    assert not admits(first, "/data/blobs/x.bin", "write_file")


# Laws.

COMPONENTS = ["a", "b", "etc", "usr", "usr2", "tmp", "data", "x*", "job-7", "job-8", "3f2a9c0d1e", "tmp.Ab3xZ9kLm1"]
COMPONENTS += [
    "lib",
    "libz.so.1.2",
    "db1",
    "db2",
    "home",
    ".ssh",
    "server.key",
    "proc",
    "self",
    "task",
    "12",
    "var",
    "run",
]
ACCESS = st.frozensets(st.sampled_from(["read_file", "write_file", "read_dir", "execute", "make_reg"]), max_size=2)
PATHS = st.lists(st.sampled_from(COMPONENTS), min_size=1, max_size=5).map(lambda names: "/" + "/".join(names))
NEEDS = st.lists(
    st.builds(
        Need,
        path=PATHS,
        access=ACCESS | st.just(frozenset({"read_file"})),
        directory=st.booleans(),
        created=st.booleans(),
        missing=st.integers(0, 9).map(lambda one: one == 0),
        recordings=st.frozensets(st.integers(0, 2), min_size=1),
        listed=st.booleans(),
        exclusive=st.booleans(),
    ),
    max_size=30,
)


@given(NEEDS)
def test_laws(needs):
    found = propose(needs, recordings=3, home="/home/a")
    taken = set()
    by_path = {}
    for one in needs:
        by_path.setdefault(one.path, set()).update(() if one.missing else one.access)
    for one in found:
        pattern = one.pattern.resolve(home="/home/a")
        assert one.access
        assert 0 <= one.confidence <= 1
        assert one.needs == tuple(sorted(set(one.needs)))
        for path in one.needs:
            assert pattern.grants(path)
            assert by_path[path] <= one.access
        # No right that none of its needs has.
        assert one.access <= set().union(*(by_path[path] for path in one.needs))
        if one.automatic:
            assert one.protected is None
            assert "HOME" in one.pattern.variables or protected_root(one.pattern) is None
            assert taken.isdisjoint(one.needs)
            taken.update(one.needs)
    assert [one.automatic for one in found] == sorted([one.automatic for one in found], reverse=True)


@given(NEEDS, st.randoms(use_true_random=False))
def test_the_order_of_needs_does_not_matter(needs, chance):
    mixed = chance.sample(needs, len(needs))
    assert propose(mixed, recordings=3) == propose(needs, recordings=3)


@given(st.lists(PATHS, max_size=12), st.lists(PATHS, max_size=12))
def test_a_further_recording_takes_nothing_away_from_what_is_made(first, second):
    def files(paths, recording):
        return [made(f"/srv/app/{path.replace('/', '_')}", recording) for path in sorted(set(paths))]

    before = [one.pattern for one in propose(files(first, 0), recordings=1) if one.automatic]
    both = {one.path: one for one in files(second, 1)}
    for one in files(first, 0):
        seen = (0, 1) if one.path in both else (0,)
        both[one.path] = made(one.path, *seen)
    after = [one.pattern for one in propose(list(both.values()), recordings=2) if one.automatic]
    assert [one for one in before if not any(covers(wide, one) for wide in after)] == []


@given(st.sets(st.integers(100, 99999), min_size=1, max_size=5), st.integers(100000, 999999))
def test_further_numbers_keep_the_template(numbers, other):
    needs = [read(f"/data/job-{number}/in", index) for index, number in enumerate(sorted(numbers))]
    more = [*needs, read(f"/data/job-{other}/in", len(numbers))]
    assert set(automatic(needs, len(numbers))) == set(automatic(more, len(numbers) + 1)) == {"/data/job-*/in"}


def test_time_grows_as_the_needs_do():
    def calls(size):
        chance = random.Random(size)
        needs = [read(f"/usr/lib/python3/pkg{i % 50}/sub{i % 7}/mod{i}.py") for i in range(size)]
        needs += [made(f"/srv/app/{chance.getrandbits(128):032x}/obj-{i}", i % 2) for i in range(size)]
        needs += [read(f"/data/in{i % 40}/{chance.choice('abc')}/f{i}.csv", i % 3) for i in range(size)]
        needs += [read(f"/app/{'/'.join(['d'] * (i % 30))}/f{i}", i % 3) for i in range(size)]
        names._look.cache_clear()
        profile = cProfile.Profile()
        found = profile.runcall(propose, needs, recordings=3)
        assert len(found) > 10
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(4000) < 4 * 1.2 * calls(1000)


def test_proposals_fit_a_set():
    found = propose(workload(1), recordings=1)
    rules = PatternSet(one.pattern for one in found if one.automatic)
    assert [one.text for one in rules.granting("/tmp/x/y")] == ["/tmp/**"]
    assert rules.granting("/tmpx") == ()
