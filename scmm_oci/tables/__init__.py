"""Facts as pure data: architectures, system call numbers, what container runtimes need, which calls are probes."""
