"""The state of the listen key: when it was confirmed, is to be renewed, and can no longer be alive."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# The exchange drops a key after an hour without renewal.
LIFE = timedelta(minutes=60)
# A key that was confirmed this lately serves another connection without being asked about: reconnecting is free then.
FRESH = timedelta(seconds=30)
RENEW_AGAIN = timedelta(seconds=20)


@dataclass(kw_only=True)
class ListenKey:
    """The account's key. The exchange gives the same key to all clients of the account."""

    keepalive: timedelta
    text: str = ""
    confirmed_at: datetime | None = None
    _asked_at: datetime | None = None

    def confirm(self, text: str, now: datetime) -> None:
        self.text, self.confirmed_at = text, now

    def doubt(self) -> None:
        """Have it asked for anew before the next connection."""
        self.confirmed_at = None

    def note_asking(self, now: datetime) -> None:
        self._asked_at = now

    def is_fresh(self, now: datetime) -> bool:
        return self.confirmed_at is not None and now - self.confirmed_at < FRESH

    def wants_renewal(self, now: datetime) -> bool:
        due = self.confirmed_at is not None and now - self.confirmed_at >= self.keepalive
        return due and (self._asked_at is None or now - self._asked_at >= RENEW_AGAIN)

    def is_over(self, now: datetime) -> bool:
        return self.confirmed_at is not None and now - self.confirmed_at >= LIFE

    def age_seconds(self, now: datetime) -> float | None:
        return round((now - self.confirmed_at).total_seconds(), 1) if self.confirmed_at else None
