"""One file a command, found by the application; each has a ``command``."""
