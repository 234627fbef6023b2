"""The command line: one file for each verb, with parsing, printing and exit codes only."""
