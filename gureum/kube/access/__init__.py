"""Who asks (certificates, tokens), and what he may (RBAC)."""
