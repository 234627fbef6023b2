"""The compiled policy file (.scmm-pol, version 2): what the launcher applies. docs/formats.md describes its bytes."""
