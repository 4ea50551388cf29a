"""Log lines with ids, as text for people or as JSON for machines; secrets never reach them."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import Processor

from execution_project.printable import show_control_characters

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.ExceptionRenderer(),
]
# The connector logs signed URLs at DEBUG, urllib3 every request line: both would put signatures into the log.
NEVER_BELOW_INFO = ("binance", "urllib3", "requests")
# One line a task at each end: Flower shows them better, and at this rate they cost more than some steps.
ONLY_WARNINGS = ("celery.app.trace", "celery.worker.strategy", "celery.beat")


def logging_settings(*, level: str, form: str) -> dict[str, Any]:
    """Return the `LOGGING` dictionary; also sets structlog up to hand its lines to the standard handlers."""
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    people = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    # JSON writes control characters as escapes by itself.
    shown: list[Processor] = (
        [structlog.processors.JSONRenderer()] if form == "json" else [show_control_characters, people]
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": SHARED,
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown],
    }
    floor = logging.getLevelName(level)
    quiet = {name: {"level": max(logging.INFO, floor)} for name in NEVER_BELOW_INFO}
    quiet |= {name: {"level": max(logging.WARNING, floor)} for name in ONLY_WARNINGS}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": formatter},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": quiet,
    }
