"""Reads the rights of the API key, and blocks entries while the key could withdraw or transfer money."""

import time
from collections.abc import Callable

import requests
import structlog
from binance.error import ClientError, ServerError

from execution.adapters.binance.connector import Connector, NotSentError, RequestSlot
from execution.adapters.binance.errors import UNREADABLE
from execution.adapters.binance.rows import Row
from execution.domain.outcomes import Mismatch
from execution.domain.ports import ExchangeUnavailableError, Lane
from execution.domain.reasons import Reason

# Only the spot host answers this; the testnet and the paper exchange have no such page, and no money to withdraw.
KEY_HOST = "https://api.binance.com"
RESTRICTIONS = "/sapi/v1/account/apiRestrictions"
VALID_SECONDS = 3600.0
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
    """Reads the key's rights at most once an hour while they are as demanded.

    `client` is None where no host answers `apiRestrictions`. `accountConfig` shows the rights of the account, not those
    of the key.
    """

    def __init__(self, client: Connector | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._monotonic = monotonic
        self._clean_until = 0.0

    def problem(self) -> Mismatch | None:
        """Return the first right of the key that is not as demanded, or None. Raises as `problems`."""
        return next(iter(self.problems()), None)

    def problems(self) -> tuple[Mismatch, ...]:
        """Return every right of the key that is not as demanded.

        Raises:
            ExchangeUnavailableError: the rights cannot be read. No entry leaves with a key that might withdraw.

        """
        if self._client is None or self._monotonic() < self._clean_until:
            return ()
        wrong, needless = self._judged(self._client)
        if not wrong:
            self._clean_until = self._monotonic() + VALID_SECONDS
            if needless:
                log.warning("key_has_needless_rights", rights=needless)
        return wrong

    def _judged(self, client: Connector) -> tuple[tuple[Mismatch, ...], list[str]]:
        try:
            with client.turn(RequestSlot(lane=Lane.ENTRY, wait_seconds=WAIT_SECONDS)):
                rights: Row = client.sign_request("GET", RESTRICTIONS)
            # A right that the answer does not mention is unknown and raises: it is never taken for harmless.
            wrong = tuple(
                Mismatch(reason=reason, wanted=f"{name}={str(wanted).lower()}", found=str(rights[name]).lower()[:20])
                for name, wanted, reason in DEMANDS
                if rights[name] is not wanted
            )
            return wrong, [name for name in NEEDLESS if rights.get(name)]
        except CALL_ERRORS as error:
            kind = getattr(error, "error_code", None) or type(error).__name__
            raise ExchangeUnavailableError(f"the key's rights cannot be read: {kind}") from error
