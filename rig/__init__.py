"""The ground on which tests, demo and benchmarks stand: real engines, real images, nothing left behind.

Nothing here is part of the shipped package, and nothing here imports it: the rig starts containers the way a
user would (podman, dockerd, runc, crun as Debian ships them) so that what is tested is what users run.

* ``namespace`` and ``cgroup``: a private mount namespace with only cgroup2, and cgroups of the rig's own.
* ``process`` and ``mounts``: running commands, daemons, private directories and mounts with deadlines.
* ``images``: root file systems made from Debian packages, cached.
* ``podman``, ``docker``, ``runc``: the engines and the raw runtimes; ``servers``: nginx and redis under load.
* ``switch``: whether a suite that needs an engine runs, is skipped, or must run.
"""
