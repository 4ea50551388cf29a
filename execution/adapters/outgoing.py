"""HTTP sessions without redirects, proxies or endless answers, to allowed addresses only.

A redirect would carry our key and a signed order to the host that the answer names. A proxy of the environment would
see both. A name may resolve to another machine than the one that was meant, so the other end's IP address is checked
when the connection stands and before a byte is sent. An answer is read up to a size and for a time.
"""

import socket
import time
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import DecodeError, HTTPError, NewConnectionError, ReadTimeoutError

# Decides from the IP address of the other end whether we may talk to it.
PeerRule = Callable[[str], bool]

LARGEST_PIECE = 65_536
# A connection that rests is asked for signs of life, so that one which has been silenced is not used for an order.
# Systems that lack one of these have a longer default.
KEEPALIVE: tuple[tuple[int, int, int], ...] = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (
            ("TCP_KEEPIDLE", 5),
            ("TCP_KEEPINTVL", 2),
            ("TCP_KEEPCNT", 3),
            # Milliseconds for which what was sent may go unacknowledged.
            ("TCP_USER_TIMEOUT", 10_000),
        )
        if hasattr(socket, name)
    ),
)


class AnswerTooLargeError(requests.RequestException):
    """The answer is longer than any honest one. The rest of it was not read."""


class PeerRefusedError(ConnectionError):
    """The connection ended at an address that is not allowed. Nothing was sent."""


def any_peer(_peer: str) -> bool:
    return True


class OutgoingSession(requests.Session):
    """A session for one thread. Every answer is complete when it is returned.

    Args:
        peer_rule: which IP addresses may be at the other end.
        largest_body: bytes of an answer, unpacked, beyond which it is refused.

    """

    def __init__(self, *, peer_rule: PeerRule, largest_body: int) -> None:
        super().__init__()
        self.trust_env = False
        self._largest_body = largest_body
        adapter = PinnedAdapter(peer_rule)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """Send a request and read its answer within `timeout` seconds in all.

        Raises:
            requests.RequestException: no connection, no whole answer in time, or one that is too large.

        """
        end = time.monotonic() + float(options["timeout"])
        options |= {"allow_redirects": False, "stream": True, "proxies": None}
        response = super().request(*args, **options)
        try:
            response._content = read_body(response, end=end, largest=self._largest_body)  # noqa: SLF001 -- the package has no other door
        except BaseException:
            # What is left of the answer must not be taken for the next one.
            response.raw.close()
            raise
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001 -- as above
        response.close()
        return response


class PinnedAdapter(HTTPAdapter):
    """Makes connections that end at allowed addresses only."""

    def __init__(self, peer_rule: PeerRule) -> None:
        self._pools = _pinned_pools(peer_rule)
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, socket_options=[*HTTPConnection.default_socket_options, *KEEPALIVE], **options)
        self.poolmanager.pool_classes_by_scheme = self._pools


def checked(connection: socket.socket, peer_rule: PeerRule) -> socket.socket:
    """Return the connection, or close it and raise PeerRefusedError when it ends where it must not."""
    peer = str(connection.getpeername()[0])
    if not peer_rule(peer):
        connection.close()
        raise PeerRefusedError(f"the connection ended at {peer}, which is not allowed here")
    return connection


def _pinned_pools(peer_rule: PeerRule) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _checked_for(self, super()._new_conn(), peer_rule)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _checked_for(self, super()._new_conn(), peer_rule)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _checked_for(connection: HTTPConnection, sock: socket.socket, peer_rule: PeerRule) -> socket.socket:
    try:
        return checked(sock, peer_rule)
    except PeerRefusedError as error:
        # As the library reports that no connection was made: nothing was sent.
        raise NewConnectionError(connection, str(error)) from error


def read_body(response: requests.Response, *, end: float, largest: int) -> bytes:
    """Read a body until `end` (monotonic seconds) and up to `largest` bytes.

    The library's time-out is for each piece, so a sender that drips would hold us for ever.
    """
    try:
        return _read(response, end, largest)
    except (TimeoutError, ReadTimeoutError) as error:
        raise requests.ReadTimeout("the answer did not come in time") from error
    except DecodeError as error:
        raise requests.exceptions.ContentDecodingError("the answer cannot be unpacked") from error
    except (HTTPError, OSError) as error:
        if isinstance(error, requests.RequestException):
            raise
        raise requests.exceptions.ChunkedEncodingError("the answer ended early") from error


def _read(response: requests.Response, end: float, largest: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection = response.raw.connection
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(left)
        part = response.raw.read1(LARGEST_PIECE, decode_content=True)
        if not part:
            return b"".join(parts)
        size += len(part)
        if size > largest:
            raise AnswerTooLargeError(f"the answer has more than {largest} bytes")
        parts.append(part)
