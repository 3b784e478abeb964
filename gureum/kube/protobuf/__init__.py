"""Kubernetes' protobuf: the bodies that kubectl's create commands and helm send. `decode.py` reads them, by the table in `messages.py`."""
