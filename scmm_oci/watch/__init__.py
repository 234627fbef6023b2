"""Judging, in the kernel, which call follows which in a container: watches by cgroup, their alerts, and their hook."""
