"""AWS Systems Manager: sessions, commands, documents and parameters."""
