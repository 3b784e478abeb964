"""gureum (구름): a cloud on one Linux machine, in which everything really runs."""

__version__ = "0.1.0"
