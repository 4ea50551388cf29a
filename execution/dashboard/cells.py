"""Small parts of pages: links, badges and ages."""

from datetime import datetime, timedelta
from uuid import UUID

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

MINUTE, HOUR, DAY = 60, 3600, 86400


def linked(address: str, text: str, element: str) -> SafeString:
    """Return a link. It has an id, by which it keeps the keyboard's focus when the board is replaced."""
    return format_html('<a class="xs-link" id="{}" href="{}">{}</a>', element, address, text)


def badge(word: str, tone: str) -> SafeString:
    """Return a word in a tone: done, open, warn, bad or plain."""
    return format_html('<span class="xs-badge xs-badge-{}">{}</span>', tone, word)


def address_of_trade(pk: UUID) -> str:
    return reverse("dashboard:trade", args=[pk])


def address_of_decision(pk: UUID) -> str:
    return reverse("dashboard:decision", args=[pk])


def elapsed_text(since: datetime, now: datetime) -> str:
    """Write how long ago it was, in the two largest units."""
    return duration_text(now - since)


def duration_text(took: timedelta) -> str:
    """Write a duration in its two largest units."""
    seconds = max(0, int(took.total_seconds()))
    if seconds < MINUTE:
        return f"{seconds} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE} min {seconds % MINUTE} s"
    if seconds < DAY:
        return f"{seconds // HOUR} h {seconds % HOUR // MINUTE} min"
    return f"{seconds // DAY} d {seconds % DAY // HOUR} h"
