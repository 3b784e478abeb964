"""The versioned map that holds everything the control plane knows. Read contract.py first; memory.py and sqlite.py fill
it."""
