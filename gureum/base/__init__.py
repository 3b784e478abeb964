"""Pieces that know nothing of gureum: ids, CIDRs, times, processes, ARNs, settings."""
