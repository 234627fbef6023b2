"""What real programs' second runs have shown of inference, each as the smallest capture that shows it."""

from samples import NGINX, argument, as_bytes, call, file_use, session, socket_use

from scmm_oci.capture import file
from scmm_oci.policy.admit import refusals
from scmm_oci.policy.decisions import CreatedFiles, Decisions, Generalise
from scmm_oci.policy.infer import infer
from scmm_oci.tables.operations import O_CREAT, O_EXCL, O_TRUNC

O_RDWR = 2


def capture(files=(), sockets=()):
    changes = {"programs": [], "arguments": [], "order": [], "files": list(files), "sockets": list(sockets)}
    for use in (*changes["files"], *changes["sockets"]):
        use["programs"] = []
    sessions = [session([call("read")])]
    return file.parse(as_bytes({**NGINX, "sessions": sessions, **changes}))


def made(path, flags=O_RDWR | O_CREAT, **changes):
    return file_use(
        path, flags=flags, created=True, access=("read_file", "write_file"), parent_access=("make_reg",), **changes
    )


def rules(inference):
    return {rule.path: rule for rule in inference.policy.filesystem}


def test_file_made_beforehand_can_be_truncated_as_it_then_is():
    # nginx opens its pid file with O_CREAT | O_TRUNC: of a file that is made so, nothing is cut off, and the kernel
    # asks for no right (fs/namei.c, do_open: a created file is not truncated). Of one that is there it does.
    rule = rules(infer([capture([made("/run/nginx.pid", O_RDWR | O_CREAT | O_TRUNC)])]))["/run/nginx.pid"]
    assert rule.on_missing == "precreate"
    assert set(rule.access) == {"read_file", "write_file", "truncate"}
    # The twin: without the flag nobody cuts it off.
    rule = rules(infer([capture([made("/run/nginx.pid")])]))["/run/nginx.pid"]
    assert set(rule.access) == {"read_file", "write_file"}


def test_file_that_is_kept_can_be_truncated_by_the_next_run():
    kept = [made("/data/x/out.txt", O_RDWR | O_CREAT | O_TRUNC), made("/data/x/tmp1234", O_RDWR | O_CREAT | O_EXCL)]
    policy = infer([capture(kept)]).policy
    again = file_use("/data/x/out.txt", flags=O_RDWR | O_CREAT | O_TRUNC, access=("write_file", "truncate"))
    assert refusals(policy, capture([again])) == ()


def peer(port):
    there = "127.0.0.1"
    return [
        socket_use("bind", there, 0),
        socket_use("listen", there, port),
        socket_use("connect", there, port),
    ]


def test_port_that_the_kernel_chose_for_the_program_itself_is_another_one_the_next_time():
    policy = infer([capture(sockets=peer(38463))]).policy
    assert refusals(policy, capture(sockets=peer(46671))) == ()
    # The twin: nothing shows that this port of another's was not configured.
    policy = infer([capture(sockets=peer(38463)[2:])]).policy
    assert [one.section for one in refusals(policy, capture(sockets=peer(46671)[2:]))] == ["network"]


def test_rule_for_a_path_that_is_not_there_at_the_start_admits_nothing():
    # With on_missing skip such a rule is left out when the program starts.
    exact = Decisions(generalise=Generalise.NONE, created_files=CreatedFiles.SKIP)
    seen = capture([made("/data/x/out.txt", O_RDWR | O_CREAT | O_EXCL)])
    inferred = infer([seen], exact)
    assert rules(inferred)["/data/x/out.txt"].on_missing == "skip"
    assert [one.what for one in refusals(inferred.policy, seen)] == ["/data/x/out.txt"]
    # The twin: a file that was there.
    there = capture([file_use("/data/x/in.txt", access=("read_file",))])
    assert refusals(infer([there], exact).policy, there) == ()


def test_directory_that_the_program_makes_in_a_shared_one_is_its_own():
    # nginx makes /var/cache/nginx, and names by digests in it. All of /var/cache is too much; what is its own is not.
    def files(digest):
        base = f"/var/cache/nginx/{digest[-1]}"
        return [
            file_use("/var/cache/nginx", "mkdir", parent_access=("make_dir",)),
            file_use(base, "mkdir", parent_access=("make_dir",)),
            made(f"{base}/{digest}", O_RDWR | O_CREAT | O_EXCL),
        ]

    policy = infer([capture(files("13ee81fe919797da2ad5e5298ed71c71"))]).policy
    assert refusals(policy, capture(files("cf59c2c988a27e8821195e788188a08b"))) == ()
    other = capture([made("/var/cache/other/13ee81fe919797da2ad5e5298ed71c71", O_RDWR | O_CREAT | O_EXCL)])
    assert refusals(policy, other) != ()


def test_rule_for_a_process_s_own_directory_serves_the_first_process_only():
    own = [file_use("/proc/self/status", access=("read_file",))]

    def codes(*calls, arguments=()):
        changes = {**NGINX, "sessions": [session([call("read"), *calls])], "files": own}
        inferred = infer([file.parse(as_bytes({**changes, "arguments": list(arguments), "sockets": [], "order": []}))])
        return [finding.code for finding in inferred.findings if finding.code == "own-process"]

    assert codes(call("vfork")) == ["own-process"]
    assert codes(call("clone"), arguments=[argument("clone", 0, 0x11)]) == ["own-process"]
    # The twins: threads are of the same process, and without a rule nothing is said.
    assert codes(call("clone"), arguments=[argument("clone", 0, 0x3D0F00)]) == []
    own[0]["path"] = "/etc/hosts"
    assert codes(call("vfork")) == []


def test_installed_software_is_not_opened_for_writing_unasked():
    def granted(directory):
        files = [made(f"{directory}/tmp{name}", O_RDWR | O_CREAT | O_EXCL) for name in ("aX3kQ9", "Zr81Lm", "q7WwE2")]
        inferred = infer([capture(files)])
        codes = {finding.code for finding in inferred.findings}
        return {path for path, rule in rules(inferred).items() if "write_file" in rule.access}, codes

    for directory in ("/usr/lib/python3/dist-packages", "/nix/store", "/var/lib/dpkg/info"):
        writable, codes = granted(directory)
        assert not {directory, f"{directory}/**"} & writable
        assert "needs-yes" in codes
    assert granted("/srv/app/jobs")[0] == {"/srv/app/jobs/**"}


def test_directories_of_threads_are_opened_for_reading_only():
    def paths(right):
        uses = [file_use(f"/proc/self/task/{number}/comm", access=(right,)) for number in (7, 8)]
        return set(rules(infer([capture(uses)])))

    assert paths("read_file") == {"/proc/self/task/**"}
    assert paths("write_file") == {"/proc/self/task/7/comm", "/proc/self/task/8/comm"}
