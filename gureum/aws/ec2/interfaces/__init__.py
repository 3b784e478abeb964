"""Network interfaces: their addresses, attachments, and who may use another account's."""
