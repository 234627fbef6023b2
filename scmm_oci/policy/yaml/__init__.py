"""The YAML of policies: read with places, written, and edited in place."""
