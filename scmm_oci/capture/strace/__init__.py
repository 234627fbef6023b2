"""Captures from the output of strace(1): lexer → importer, which keeps threads, files, sockets, order and calls."""
