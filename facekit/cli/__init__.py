"""The command line: one file per command, thin wrappers over the library."""
