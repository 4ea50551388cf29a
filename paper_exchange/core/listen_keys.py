"""Listen keys: one living key per account, which names its user data stream."""

from dataclasses import dataclass
from typing import Final

from paper_exchange.core.ids import Texts
from paper_exchange.errors import refuse

VALIDITY_MS: Final = 3_600_000


@dataclass(slots=True)
class ListenKey:
    text: str
    account: str
    expires: int


class ListenKeys:
    def __init__(self) -> None:
        self._by_account: dict[str, ListenKey] = {}
        self._texts = Texts()

    def open(self, account: str, now: int) -> str:
        """Return the account's living key, renewed, or a new one."""
        known = self._alive(account, now)
        if known is None:
            known = self._by_account[account] = ListenKey(self._texts.draw(64), account, 0)
        known.expires = now + VALIDITY_MS
        return known.text

    def renew(self, account: str, now: int) -> str:
        known = self._alive(account, now)
        if known is None:
            raise refuse(-1125)
        known.expires = now + VALIDITY_MS
        return known.text

    def close(self, account: str) -> str | None:
        """End the account's key and return it."""
        known = self._by_account.pop(account, None)
        return known.text if known else None

    def text_of(self, account: str) -> str | None:
        """Return the account's key, if it has one."""
        known = self._by_account.get(account)
        return known.text if known else None

    def expire(self, account: str) -> None:
        """Let the account's key run out now."""
        if account in self._by_account:
            self._by_account[account].expires = 0

    def next_end(self, now: int) -> int | None:
        """Return when the next living key runs out (ms)."""
        return min((key.expires for key in self._by_account.values() if key.expires > now), default=None)

    def expired(self, now: int) -> list[ListenKey]:
        """Remove the keys whose time is over and return them."""
        over = [key for key in self._by_account.values() if key.expires <= now]
        for key in over:
            del self._by_account[key.account]
        return over

    def _alive(self, account: str, now: int) -> ListenKey | None:
        known = self._by_account.get(account)
        return known if known and known.expires > now else None
