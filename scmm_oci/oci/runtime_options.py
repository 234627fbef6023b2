"""The options that runc and crun know, before the verb and after it: which of them take a value.

Each table is text: one word for an option, its long name first, other spellings after a comma; `=` where a value must
follow, `:` where one may (only joined on). A table is the union of what the versions named below know, so a version
that lacks an option refuses it, and none reads one in another way.

Sources: `--help` of runc 1.1.5 and crun 1.8.1 and what they answer (tests/runtime/test_runtime_argv_real.py); newer
ones from their sources: runc's create.go, run.go, exec.go, update.go, checkpoint.go and restore.go up to the one that
moved to urfave/cli v3, crun's src/*.c up to the one that has run_create.c. Standard library only (on the shim's way).
"""

from __future__ import annotations

RUNC = "runc"
CRUN = "crun"

# config: runc after 1.4
_RUNC_CREATE = "bundle,b= config= console-socket= pidfd-socket= pid-file= no-pivot no-new-keyring preserve-fds="
_CRUN_CREATE = "bundle,b= config,f= console-socket= no-new-keyring no-pivot no-subreaper pid-file= preserve-fds="
_UPDATE = (
    "resources,r= blkio-weight= cpu-period= cpu-quota= cpu-share= cpu-rt-period= cpu-rt-runtime= cpuset-cpus="
    " cpuset-mems= memory= memory-reservation= memory-swap= pids-limit= kernel-memory= kernel-memory-tcp="
    " cpu-burst= cpu-idle= l3-cache-schema= mem-bw-schema="
)
_CRIU = "image-path= work-path= tcp-established ext-unix-sk shell-job file-locks manage-cgroups-mode="

#: What stands before the verb.
GLOBAL = {
    # criu: hidden since runc 1.2. help and version: urfave/cli.
    RUNC: "debug log= log-format= root= criu= systemd-cgroup rootless= help,h version,v",
    # log-level: newer than 1.8.1. help to HANG: glibc's argp.
    CRUN: "debug log= log-format= log-level= root= rootless= cgroup-manager= systemd-cgroup version,v,V"
    " help,? usage program-name= HANG:",
}

#: What every verb has besides its own.
COMMON = {RUNC: "help,h", CRUN: "help,? usage program-name= HANG:"}

#: What stands after each verb. A verb that is not here is none that we know.
VERBS = {
    RUNC: {
        "create": _RUNC_CREATE,
        "run": _RUNC_CREATE + " detach,d keep no-subreaper",
        "exec": "console-socket= pidfd-socket= cwd= env,e= tty,t user,u= additional-gids,g= process,p= detach,d"
        " pid-file= process-label= apparmor= no-new-privs cap,c= preserve-fds= cgroup= ignore-paused",
        "start": "",
        "kill": "all,a",
        "delete": "force,f",
        "state": "",
        "ps": "format,f=",
        "list": "format,f= quiet,q",
        "update": _UPDATE,
        "events": "interval= stats",
        "checkpoint": _CRIU + " parent-path= leave-running lazy-pages status-fd= page-server= pre-dump empty-ns="
        " auto-dedup",
        "restore": _CRIU + " console-socket= bundle,b= detach,d pid-file= no-subreaper no-pivot empty-ns= auto-dedup"
        " lazy-pages lsm-profile= lsm-mount-context=",
        "pause": "",
        "resume": "",
        "features": "",
        "spec": "bundle,b= rootless",
    },
    CRUN: {
        "create": _CRUN_CREATE,
        "run": _CRUN_CREATE + " detach,d keep",  # keep: newer than 1.8.1
        "exec": "apparmor= cgroup= console-socket= cwd= cap,c= detach,d env,e= no-new-privs pid-file= preserve-fds="
        " process-label= process,p= tty,t: user,u=",
        "start": "",
        "kill": "all,a regex,r",
        "delete": "force,f regex,r",
        "state": "",
        "ps": "format,f=",
        "list": "format,f= quiet,q",
        "update": _UPDATE,
        "checkpoint": _CRIU + " parent-path= leave-running pre-dump",
        "restore": _CRIU + " console-socket= bundle,b= detach,d pid-file= lsm-profile= lsm-mount-context=",
        "pause": "",
        "resume": "",
        "features": "",
        "spec": "bundle,b= file,f= rootless",
    },
}

FLAG = ""  # takes no value; runc's may have one joined on (--detach=false), crun's may not
VALUE = "="
OPTIONAL = ":"


def spellings(text: str) -> dict[str, tuple[str, str]]:
    """A table: each spelling without its dashes → (long name, FLAG, VALUE or OPTIONAL)."""
    found = {}
    for word in text.split():
        names = word.rstrip("=:").split(",")
        for name in names:
            found[name] = names[0], word[-1] if word[-1] in "=:" else FLAG
    return found
