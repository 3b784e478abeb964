"""The engine: envelope of stored objects, registry, typed store access, lowering, reconcile loop, owners, events, traces.

Words used everywhere: *spec* is what was wished, *status* what was seen, *reconcile* makes alike, *plan* is what to do (pure), *apply* does it,
*render* makes its text, *show* its API form, *lower* turns a face object into core objects.
"""
