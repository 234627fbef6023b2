"""The options of `docker` and `podman`, before `run` and after it: which of them take a value. Data.

Each table is text: one word for an option, its long name first, other names and its letter after commas; `=` where a
value follows. What has no `=` is a switch, whose value can only be joined on (`--rm=false`: pflag). A table is the
union of what versions know, so one that lacks an option refuses it, and none reads one in another way.

Sources: `--help` of Docker 28.2.2 and podman 4.3.1 (tests/unit/test_engine_command.py compares, with whatever is
installed); options that are hidden or newer from their sources and manuals: docker/cli's cli/command/container/opts.go
and cli/flags/options.go up to 29, podman's cmd/podman/common/create.go, netflags.go, containers/run.go, utils/alias.go
and root.go up to 5.7.
"""

from __future__ import annotations

DOCKER_GLOBAL = (
    "config= context,c= debug,D help,h host,H= log-level,l= tls tlscacert= tlscert= tlskey= tlsverify version,v"
)

DOCKER_RUN = (
    "add-host= annotation= attach,a= blkio-weight= blkio-weight-device= cap-add= cap-drop= cgroup-parent= cgroupns="
    " cidfile= cpu-count= cpu-percent= cpu-period= cpu-quota= cpu-rt-period= cpu-rt-runtime= cpu-shares,c= cpus="
    " cpuset-cpus= cpuset-mems= detach,d detach-keys= device= device-cgroup-rule= device-read-bps= device-read-iops="
    " device-write-bps= device-write-iops= disable-content-trust dns= dns-opt= dns-option= dns-search= domainname="
    " entrypoint= env,e= env-file= expose= gpus= group-add= health-cmd= health-interval= health-retries="
    " health-start-interval= health-start-period= health-timeout= help hostname,h= init interactive,i io-maxbandwidth="
    " io-maxiops= ip= ip6= ipc= isolation= kernel-memory= label,l= label-file= link= link-local-ip= log-driver="
    " log-opt= mac-address= memory,m= memory-reservation= memory-swap= memory-swappiness= mount= name= network,net="
    " network-alias,net-alias= no-healthcheck oom-kill-disable oom-score-adj= pid= pids-limit= platform= privileged"
    " publish,p= publish-all,P pull= quiet,q read-only restart= rm runtime= security-opt= shm-size= sig-proxy"
    " stop-signal= stop-timeout= storage-opt= sysctl= tmpfs= tty,t ulimit= use-api-socket user,u= userns= uts="
    " volume,v= volume-driver= volumes-from= workdir,w="
)

PODMAN_GLOBAL = (
    "cdi-spec-dir= cgroup-manager= config= conmon= connection,c= context= cpu-profile= db-backend="
    " default-mounts-file= events-backend= help,h hooks-dir= host,H= identity= imagestore= log-level= max-workers="
    " memory-profile= module= namespace= network-cmd-path= network-config-dir= noout out= pull-option="
    " registries-conf= remote,r root= runroot= runtime= runtime-flag= ssh= storage-driver= storage-opt= syslog"
    " tls-ca= tls-cert= tls-key= tmpdir= trace transient-store url= version,v volumepath="
)

# podman takes its global options here too, but for those whose names or letters are taken (cobra, persistent flags).
PODMAN_RUN = (
    "add-host= annotation= arch= attach,a= authfile= blkio-weight= blkio-weight-device= cap-add= cap-drop= cert-dir="
    " cgroup-conf= cgroup-parent= cgroupns= cgroups= chrootdirs= cidfile= conmon-pidfile= cpu-period= cpu-quota="
    " cpu-rt-period= cpu-rt-runtime= cpu-shares,c= cpus= cpuset-cpus= cpuset-mems= creds= decryption-key= detach,d"
    " detach-keys= device= device-cgroup-rule= device-read-bps= device-read-iops= device-write-bps="
    " device-write-iops= disable-content-trust dns= dns-option,dns-opt= dns-search= entrypoint= env,e= env-file="
    " env-host env-merge= expose= gidmap= gpus= group-add= group-entry= health-cmd,healthcheck-command="
    " health-interval,healthcheck-interval= health-log-destination= health-max-log-count= health-max-log-size="
    " health-on-failure= health-retries,healthcheck-retries= health-start-period,healthcheck-start-period="
    " health-startup-cmd= health-startup-interval= health-startup-retries= health-startup-success="
    " health-startup-timeout= health-timeout,healthcheck-timeout= help hostname,h= hosts-file= hostuser= http-proxy"
    " image-volume= init init-path= interactive,i ip= ip6= ipc= kernel-memory= label,l= label-file= log-driver="
    " log-opt= mac-address= memory,m= memory-reservation= memory-swap= memory-swappiness= mount= name= network,net="
    " network-alias= no-healthcheck no-hostname no-hosts oom-kill-disable oom-score-adj= os,override-os="
    " override-arch= override-variant= passwd passwd-entry= personality= pid= pidfile= pids-limit= platform= pod="
    " pod-id-file= preserve-fd= preserve-fds= privileged publish,p= publish-all,P pull= quiet,q rdt-class= read-only"
    " read-only-tmpfs replace requires= restart= retry= retry-delay= rm rmi rootfs sdnotify= seccomp-policy= secret="
    " security-opt= shm-size= shm-size-systemd= sig-proxy signature-policy= stop-signal= stop-timeout= subgidname="
    " subuidname= sysctl= systemd= timeout= tls-verify tmpfs= tty,t tz= uidmap= ulimit= umask= unsetenv="
    " unsetenv-all user,u= userns= uts= variant= volume,v= volumes-from= workdir,w="
)


class Options:
    """One place's options. names: every long name → the first one; letters: → long name; valued: take a value."""

    def __init__(self, *tables: str) -> None:
        self.names: dict[str, str] = {}
        self.letters: dict[str, str] = {}
        self.valued: set[str] = set()
        for word in " ".join(tables).split():
            name, *others = word.removesuffix("=").split(",")
            if name in self.names:
                continue  # the first table goes before those that follow
            if word.endswith("="):
                self.valued.add(name)
            for each in (name, *others):
                (self.letters if len(each) == 1 else self.names).setdefault(each, name)
