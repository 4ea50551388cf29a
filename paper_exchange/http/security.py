"""Who calls: the API key header, the signature in all its accepted spellings, and the receive window."""

import hmac
import re
from typing import Final
from urllib.parse import unquote, unquote_plus

from paper_exchange.core.accounts import Account
from paper_exchange.errors import ahead_of_server, missing, refuse
from paper_exchange.http.keys import is_signed_by
from paper_exchange.http.params import Params

_SIGNATURE: Final = re.compile(r"(^|&)signature=([^&]*)")
DEFAULT_WINDOW_MS: Final = 5000
MAX_WINDOW_MS: Final = 60_000
_MAX_KEY_LENGTH: Final = 128


def account_of(accounts: dict[str, Account], key: str | None) -> Account:
    if not key or len(key) > _MAX_KEY_LENGTH:
        raise refuse(-2014)
    account = accounts.get(key)
    if account is None or account.revoked:
        raise refuse(-2015)
    return account


def check_signed(account: Account, params: Params, query: str, body: bytes, *clocks: int) -> None:
    """Refuse a call whose timestamp is outside its window on all clocks, or whose signature does not fit."""
    timestamp = params.required_integer("timestamp")
    if not params.has("signature"):
        raise missing("signature")
    check_window(timestamp, params.integer("recvWindow"), *clocks)
    if not _is_signed(account, query, body.decode("utf-8", "replace")):
        raise refuse(-1022)


def check_window(timestamp: int, window: int | None, *clocks: int) -> None:
    """Several clocks are there when a test has stepped the exchange's time away from its client's."""
    if window is None:
        window = DEFAULT_WINDOW_MS
    if not 0 < window <= MAX_WINDOW_MS:
        raise refuse(-1131)
    if any(now - window <= timestamp < now + 1000 for now in clocks):
        return
    raise ahead_of_server() if timestamp >= clocks[0] + 1000 else refuse(-1021)


def is_signature_of(account: Account, payload: str, given: str) -> bool:
    """Return whether a text was signed by an account's private key, or with its secret."""
    signed = payload.encode("utf-8", "replace")
    if account.public_key:
        return is_signed_by(account.public_key, signed, given)
    wanted = hmac.digest(account.secret, signed, "sha256").hex()
    return hmac.compare_digest(wanted.encode(), given.lower().encode("utf-8", "replace"))


def _is_signed(account: Account, query: str, body: str) -> bool:
    """Check the signature over the raw text, then over the percent-decoded one (some clients sign that)."""
    query, in_query = _cut(query)
    body, in_body = _cut(body)
    given = in_query or in_body
    if "%" in given:
        given = unquote(given)
    raw = query + body
    candidates = (raw, unquote(raw), unquote_plus(raw)) if "%" in raw or "+" in raw else (raw,)
    return any(is_signature_of(account, text, given) for text in candidates)


def _cut(text: str) -> tuple[str, str]:
    """Take the signature parameter out of a query or form."""
    found = _SIGNATURE.search(text)
    if found is None:
        return text, ""
    rest = text[: found.start()] + text[found.end() :]
    return rest.removeprefix("&"), found[2]
