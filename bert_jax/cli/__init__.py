"""The command line: one module a verb, the only place where flags exist."""
