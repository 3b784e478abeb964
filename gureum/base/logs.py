"""Logging: one line per event on standard error, which the supervisor keeps in `logs/` with a size limit.

    2026-01-31T12:00:00.123Z INFO gureum.agent lost the daemon why=closed

Fields come from `extra=`; secrets never go into them.
"""

from __future__ import annotations

import logging
import time

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """Time in UTC, level, logger, event, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = "".join(f" {name}={value}" for name, value in vars(record).items() if name not in _KNOWN)
        text = f"{stamp}.{int(record.msecs):03d}Z {record.levelname} {record.name} {record.getMessage()}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def start_logging(level: str) -> None:
    """Once, at the start of a process. `level`: "debug", "info", "warning" or "error"."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
