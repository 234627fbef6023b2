"""A capture that gives the interview something to ask in every part; used by its unit and terminal tests."""

from samples import app, argument, as_bytes, call, file_use, program, socket_use

from scmm_oci.capture import file


def _made(path, **changes):
    return file_use(
        path, flags=0o101, created=True, access=["write_file"], parent_access=["make_reg"], programs=[0], **changes
    )


RICH = app(
    call("read", 40, programs=[0]),
    call("openat", 20, programs=[0]),
    call("socket", 3, programs=[0]),
    call("connect", 3, programs=[0]),
    call("bind", programs=[0]),
    call("mmap", 9, programs=[0]),
    call("ptrace", 1, programs=[0]),
    call("clone3", 2, programs=[0]),
    name="rich",
    programs=[program(0, "/usr/bin/tool", "tool")],
    arguments=[
        argument("socket", 0, 2, 10),
        argument("socket", 1, 1),
        argument("socket", 2, 0),
        argument("mmap", 2, 1, 3),
        argument("ptrace", 0, 0),
        argument("openat", 2, 0, 0o2000000),
        argument("clone3", 0, 0x3D0F00, field="flags"),
    ],
    files=[
        file_use("/usr/bin/tool", "execute", access=["execute", "read_file"]),
        file_use("/etc/app.conf", access=["read_file"]),
        file_use("/etc/app.d", flags=0o200000, access=["read_dir"]),
        file_use("/etc/app.d/one.conf", access=["read_file"]),
        file_use("/etc/missing.conf", errnos=["ENOENT"], state="named"),
        file_use("/srv/in", flags=0o200000, access=["read_dir"]),
        *(file_use(f"/srv/in/part{number}.csv", access=["read_file"]) for number in range(4)),
        *(_made(f"/tmp/run-{suffix}") for suffix in ("a8Xk2q", "Zr19wE", "q7Lm3T")),
        _made("/var/lib/app/state.db"),
        file_use("/var\x1b]0;evil\x07/x", access=["read_file"]),
    ],
    sockets=[
        socket_use("bind", "0.0.0.0", 80),
        socket_use("connect", "192.0.2.7", 443),
        socket_use("connect", "192.0.2.8", 443),
        socket_use("connect", "192.0.2.9", 53, type="dgram"),
    ],
)  # fmt: skip


def rich():
    """It, as a value."""
    return file.parse(as_bytes(RICH))
