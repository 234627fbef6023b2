"""The only code that calls the kernel: thin wrappers named as in the man pages, standard library and ctypes only."""
