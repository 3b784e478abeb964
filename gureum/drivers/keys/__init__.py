"""The local certificate authority, and files that hold keys."""
