"""The monitor: it answers calls that wait at a seccomp listener. docs/monitor.md says what it does."""
