"""Asks what the API key may do, and keeps entries from leaving with one that could take the money elsewhere."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
import structlog
from binance.error import ClientError, ServerError

from execution.adapters.binance.connector import Connector, NotSentError, RequestSlot
from execution.adapters.binance.errors import UNREADABLE
from execution.domain.outcomes import Mismatch
from execution.domain.ports import ExchangeUnavailableError, Lane
from execution.domain.reasons import Reason

# Only the spot host answers this; the testnet and the paper exchange have no such page, and no money to withdraw.
KEY_HOST = "https://api.binance.com"
RESTRICTIONS = "/sapi/v1/account/apiRestrictions"
BELIEVED_SECONDS = 3600.0
WAIT_SECONDS = 10.0
CALL_ERRORS = (NotSentError, ClientError, ServerError, requests.RequestException, *UNREADABLE)


# (right, what it must be, the reason otherwise). A thief of the key must not be able to move money out of the
# account, to another account or to a wallet that such a key can empty, nor to use it from elsewhere.
DEMANDS = (
    ("enableWithdrawals", False, Reason.KEY_MAY_WITHDRAW),
    ("enableInternalTransfer", False, Reason.KEY_MAY_TRANSFER),
    ("permitsUniversalTransfer", False, Reason.KEY_MAY_TRANSFER),
    ("ipRestrict", True, Reason.KEY_NOT_IP_RESTRICTED),
    ("enableFutures", True, Reason.KEY_MAY_NOT_TRADE_FUTURES),
)
# Not needed here, and a thief could lose money with them; they move none out.
NEEDLESS = (
    *("enableMargin", "enableSpotAndMarginTrading", "enableVanillaOptions", "enablePortfolioMarginTrading"),
    "enableFixApiTrade",
)

log = structlog.get_logger(__name__)


class KeyCheck:
    """`client` is None where nobody can be asked. `accountConfig` would tell the account's ability, not the key's."""

    def __init__(self, client: Connector | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._monotonic = monotonic
        self._clean_until = 0.0

    def problem(self) -> Mismatch | None:
        """Return the first thing that is wrong with the key; raises as `problems`."""
        return next(iter(self.problems()), None)

    def problems(self) -> tuple[Mismatch, ...]:
        """Return everything that is wrong with the key.

        Raises:
            ExchangeUnavailableError: nobody could tell; no entry leaves with a key that may be able to withdraw.

        """
        if self._client is None or self._monotonic() < self._clean_until:
            return ()
        wrong, needless = self._judged(self._client)
        if not wrong:
            self._clean_until = self._monotonic() + BELIEVED_SECONDS
            if needless:
                log.warning("key_has_needless_rights", rights=needless)
        return wrong

    def _judged(self, client: Connector) -> tuple[tuple[Mismatch, ...], list[str]]:
        try:
            with client.turn(RequestSlot(lane=Lane.ENTRY, wait_seconds=WAIT_SECONDS)):
                rights: Mapping[str, Any] = client.sign_request("GET", RESTRICTIONS)
            # A right that the answer does not mention is not known, and never taken for harmless.
            return _wrong(rights), [name for name in NEEDLESS if rights.get(name)]
        except CALL_ERRORS as error:
            kind = getattr(error, "error_code", None) or type(error).__name__
            raise ExchangeUnavailableError(f"the key's rights cannot be read: {kind}") from error


def _wrong(rights: Mapping[str, Any]) -> tuple[Mismatch, ...]:
    return tuple(
        Mismatch(reason=reason, wanted=f"{name}={str(wanted).lower()}", found=str(rights[name]).lower()[:20])
        for name, wanted, reason in DEMANDS
        if rights[name] is not wanted
    )
