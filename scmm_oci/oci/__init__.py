"""The documents of the OCI runtime-spec that we read and write."""
