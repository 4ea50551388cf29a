"""Asks what the API key may do, and keeps entries from leaving with one that may withdraw."""

import time
from collections.abc import Callable

import requests
from binance.error import ClientError, ServerError

from execution.adapters.binance.connector import Connector, NotSentError, Turn
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


class KeyCheck:
    """`client` is None where nobody can be asked. `accountConfig` would tell the account's ability, not the key's."""

    def __init__(self, client: Connector | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._monotonic = monotonic
        self._clean_until = 0.0

    def problem(self) -> Mismatch | None:
        """Return what is wrong with the key.

        Raises:
            ExchangeUnavailableError: nobody could tell; no entry leaves with a key that may be able to withdraw.

        """
        if self._client is None or self._monotonic() < self._clean_until:
            return None
        if self._may_withdraw(self._client):
            return Mismatch(reason=Reason.KEY_MAY_WITHDRAW, wanted="enableWithdrawals=false", found="true")
        self._clean_until = self._monotonic() + BELIEVED_SECONDS
        return None

    def _may_withdraw(self, client: Connector) -> bool:
        try:
            with client.turn(Turn(lane=Lane.ENTRY, wait_seconds=WAIT_SECONDS)):
                return client.sign_request("GET", RESTRICTIONS)["enableWithdrawals"] is not False
        except CALL_ERRORS as error:
            kind = getattr(error, "error_code", None) or type(error).__name__
            raise ExchangeUnavailableError(f"the key's rights cannot be read: {kind}") from error
