"""The ways to change an object: JSON patch, merge patch, strategic merge, and server-side apply with its managed fields. All pure:
values in, values out; none changes what it is given."""
