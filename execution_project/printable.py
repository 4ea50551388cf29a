"""Text from outside on a terminal or in a log: control characters are shown, never obeyed.

A symbol, a reason or a payload may carry escape sequences that clear a screen, rename a window or forge a line, and
marks that turn the direction of reading. They appear as their hexadecimal codes.
"""

import unicodedata
from typing import Any

from structlog.typing import EventDict, WrappedLogger

# Control, format (direction marks, zero widths), surrogate, line and paragraph separator.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Rendered tracebacks have lines of their own.
OF_SEVERAL_LINES = frozenset({"exception", "stack"})


def printable(text: str, *, keep: str = "") -> str:
    """Return the text with every hidden character but those of `keep` written out as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character, keep) for character in text)


def _shown(character: str, keep: str) -> str:
    if character in keep or unicodedata.category(character) not in HIDDEN:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def show_control_characters(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make every text of a log line printable; for the renderer that writes texts as they are."""
    return {printable(name): _value(name, value) for name, value in event.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, keep="\n\t" if name in OF_SEVERAL_LINES else "")
    return value
