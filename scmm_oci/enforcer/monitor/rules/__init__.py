"""Rules of the monitor: monitor.yaml as values, and what it says of a call. docs/formats.md describes the file."""
