"""Child processes that do one kind of work for a driver, one request after another."""
