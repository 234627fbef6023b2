"""Makes scmm-runc known to Docker, podman and containerd: their configuration edited, kept as it was, and undone."""
