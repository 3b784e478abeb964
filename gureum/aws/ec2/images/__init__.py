"""AMIs: built in, registered, imported, made of a machine."""
