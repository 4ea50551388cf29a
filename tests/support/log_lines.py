"""What is logged while something runs, as the handlers get it, whoever has used the loggers before."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# What every line gets on its way to the handlers.
ADDED = frozenset({"level", "logger", "timestamp"})


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, dict):
            fields = {name: value for name, value in record.msg.items() if name not in ADDED}
            self.lines.append(fields | {"log_level": record.levelname.lower()})


@contextmanager
def log_lines() -> Iterator[list[dict[str, Any]]]:
    """Yield the lines of our own loggers, each with `event`, its fields and `log_level`.

    `structlog.testing.capture_logs` does not see loggers that were used before.
    """
    kept, root = _Kept(), logging.getLogger()
    root.addHandler(kept)
    try:
        yield kept.lines
    finally:
        root.removeHandler(kept)
