"""Instance metadata over HTTP (IMDS v1 and v2)."""
