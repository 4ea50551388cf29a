"""Stream names and the routes on which they are served since April 2026."""

import re
from enum import StrEnum
from typing import Final


class Path(StrEnum):
    """Category of a connection by the first part of its path."""

    UNROUTED = ""
    PUBLIC = "public"
    MARKET = "market"
    PRIVATE = "private"


_BOOK_STREAM: Final = re.compile(r"[^@]+@(bookTicker|trade|depth(5|10|20)?(@(100|250|500)ms)?)|!bookTicker")
_LISTEN_KEY: Final = re.compile(r"[A-Za-z0-9]{64}")


def path_of(stream: str) -> Path:
    """Return the route that serves a stream: book data, user data, or any other market data."""
    if _LISTEN_KEY.fullmatch(stream):
        return Path.PRIVATE
    return Path.PUBLIC if _BOOK_STREAM.fullmatch(stream) else Path.MARKET


def is_served(stream: str, path: Path, *, legacy: bool) -> bool:
    """Return whether a connection receives a stream. Without a route only book data, unless `legacy`."""
    if path is Path.UNROUTED:
        return legacy or path_of(stream) is Path.PUBLIC
    return path_of(stream) is path
