"""Sign-in sessions of the admin: stored under a digest of their key, and ended after eight hours or half an hour idle.

The cookie holds the key, the database only its digest: a copy of the database signs nobody in.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

BEGAN, SEEN = "began", "seen"
# How fine idleness is measured: not every request has to write its session.
SEEN_EVERY_SECONDS = 30
# What an open page asks for by itself keeps no one signed in.
UNATTENDED = frozenset({"/dashboard/board", "/dashboard/stream"})
# The width of Django's column.
DIGEST_CHARACTERS = 40


def digest(session_key: str) -> str:
    """Return what stands in the database for a session key: 160 bits that cannot be turned back into it."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:DIGEST_CHARACTERS]


class SessionStore(db.SessionStore):
    """Django's sessions in the database; only the browser knows the key."""

    def _get_session_from_db(self) -> AbstractBaseSession | None:
        found = self.model.objects.filter(session_key=digest(self.session_key or ""), expire_date__gt=timezone.now())
        row = found.first()
        if row is None:
            self._session_key = None
        return row

    def exists(self, session_key: str) -> bool:
        return super().exists(digest(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        row = super().create_model_instance(data)
        row.session_key = digest(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(digest(key))


class EndSessions:
    """Middleware: signs people out a fixed time after they signed in, and earlier when they were idle."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.session.session_key and request.user.is_authenticated:
            self._end_or_continue(request)
        return self.get_response(request)

    def _end_or_continue(self, request: HttpRequest) -> None:
        now, session = time.time(), request.session
        began, seen = session.setdefault(BEGAN, now), session.get(SEEN, now)
        if not (0 <= now - began <= settings.SESSION_COOKIE_AGE and now - seen <= settings.SESSION_IDLE_SECONDS):
            logout(request)
        elif SEEN not in session or (now - seen >= SEEN_EVERY_SECONDS and request.path not in UNATTENDED):
            session[SEEN] = now
