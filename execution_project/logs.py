"""Log lines with ids, as text for people or as JSON for machines; secrets never reach them.

Nothing of ours writes a secret. Libraries do, below INFO: they are kept above it. Whatever gets through all the same,
in an exception's text for example, is masked in the finished line, by the values that this process holds and by form.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, quote_plus

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
NEVER_BELOW_INFO = ("binance", "urllib3", "requests", "websocket", "flower", "tornado", "kombu", "amqp")
MASK = "********"
# A shorter value stands in ordinary words; live mode accepts none (execution/live_profile.py).
SHORTEST_SECRET = 6
# (what comes before a secret, the secret): signatures, listen keys, webhook tokens, key headers and passwords in URLs.
FORMS = (
    r"(signature=)[0-9A-Za-z%+/=]+",
    r"((?:listenKey|api_?key|x-mbx-apikey|x-api-key)['\"]?\s*[:=]\s*['\"]?)[^\s'\"&,}]+",
    r"(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)\s+)[^\s'\",}]+",
    r"(/(?:private/)?ws/)[0-9A-Za-z]{16,}",
    r"(/hooks/)[^\s/?#'\",}]+",
    r"(hook_)[0-9A-Za-z_-]{16,}",
    r"([a-z][a-z0-9+]*://[^\s/:@'\"]*:)[^\s@'\"]+(?=@)",
)
# One line a task at each end: Flower shows them better, and at this rate they cost more than some steps.
ONLY_WARNINGS = ("celery.app.trace", "celery.worker.strategy", "celery.beat")


def masking(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return a function that masks these values, also as JSON and URLs spell them, and whatever has a secret's form."""
    known = {spelling for value in secrets if len(value) >= SHORTEST_SECRET for spelling in _spellings(value)}
    values = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))) or r"(?!)")
    forms = [re.compile(form, re.IGNORECASE) for form in FORMS]

    def mask(line: str) -> str:
        line = values.sub(MASK, line)
        for form in forms:
            line = form.sub(rf"\g<1>{MASK}", line)
        return line

    return mask


def _spellings(value: str) -> set[str]:
    plain = {value, repr(value)[1:-1], quote(value, safe=""), quote_plus(value)}
    return plain | {json.dumps(spelling)[1:-1] for spelling in plain}


def drop_connector_bodies(record: logging.LogRecord) -> bool:
    """Drop what goes to the root logger below INFO: the connector writes whole answers there, keys among them."""
    return record.name != "root" or record.levelno >= logging.INFO


def logging_settings(*, level: str, form: str, secrets: Iterable[str] = ()) -> dict[str, Any]:
    """Return the `LOGGING` dictionary; also sets structlog up to hand its lines to the standard handlers."""
    mask = masking(secrets)

    def mask_line(_logger: object, _name: str, line: str) -> str:
        return mask(line)

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
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown, mask_line],
    }
    floor = logging.getLevelName(level)
    quiet = {name: {"level": max(logging.INFO, floor)} for name in NEVER_BELOW_INFO}
    quiet |= {name: {"level": max(logging.WARNING, floor)} for name in ONLY_WARNINGS}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": formatter},
        "filters": {"no_bodies": {"()": lambda: drop_connector_bodies}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "structured", "filters": ["no_bodies"]}},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": quiet,
    }
