"""The command line: one file per command; it talks to the supervisor over a socket and to the daemon over HTTP."""
