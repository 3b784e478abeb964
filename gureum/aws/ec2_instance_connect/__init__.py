"""EC2 Instance Connect: a public key that opens a machine's SSH server for a minute."""
