"""scmm-oci: record what system calls a container makes, and write a seccomp profile that is proven to start and run it.

Stages exchange files or frozen values (capture, policy, profile); docs/formats.md describes each of them.
"""

__version__ = "0.1.0"
