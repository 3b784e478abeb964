"""Core kinds: what one machine really has. Faces lower to them, the agent makes the machine agree.

One file per kind: its spec (what a face wishes), then the reconcile that brings the machine there through the ports, then the teardown.
Names are unique on the machine: `[a-z0-9-]{1,40}` (AWS ids are).
"""
