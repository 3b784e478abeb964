"""The AWS face: the gateway, the protocols, and one folder per service with one file per resource."""
