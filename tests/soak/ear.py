"""The user-data stream in the long soak: the service's own session, read whenever something may have been told."""

from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from execution.adapters.binance.stream import BinanceUserStream
from execution.domain.ports import StreamConnection, UserStream
from execution.domain.stream import StreamNews
from execution.user_stream.session import StreamRules
from execution.user_stream.stats import Phase
from tests.support.desk import Desk
from tests.support.listener import Listener

# In market time, but for the pings of the socket, which go by the computer's clock.
RULES = StreamRules(
    keepalive=timedelta(minutes=25),
    renewal=timedelta(hours=23),
    patience=timedelta(seconds=15),
    first_pause_seconds=0.5,
    longest_pause_seconds=30.0,
)
PING_SECONDS = 60.0
READ_SECONDS = 0.004
MOST_STEPS, STEPS_TO_CONNECT = 2000, 300


class Hasty:
    """A connection that is read for milliseconds: market time does not pass while it waits."""

    def __init__(self, connection: StreamConnection) -> None:
        self._connection = connection
        self.last_sign_at = connection.last_sign_at

    def receive(self, *, within_seconds: float) -> StreamNews | None:
        news = self._connection.receive(within_seconds=min(within_seconds, READ_SECONDS))
        self.last_sign_at = self._connection.last_sign_at
        return news

    def close(self) -> None:
        self._connection.close()


class HastyStream:
    """The service's stream with hasty connections."""

    def __init__(self, stream: UserStream) -> None:
        self._stream = stream

    def open_key(self) -> str:
        return self._stream.open_key()

    def renew_key(self, key: str) -> bool:
        return self._stream.renew_key(key)

    def connect(self, key: str) -> StreamConnection:
        return Hasty(self._stream.connect(key))


@dataclass(kw_only=True)
class Ear:
    """One process's session. `deaf`: the process does not run."""

    listener: Listener
    deaf: bool = False

    @classmethod
    def of(cls, desk: Desk) -> "Ear":
        listener = Listener(desk=desk, rules=RULES)
        stream = cast("BinanceUserStream", listener.session.stream)
        stream._ping_seconds = PING_SECONDS
        listener.session.stream = HastyStream(stream)
        return cls(listener=listener)

    def hear(self) -> None:
        """Take in what was told, and do what is due."""
        if self.deaf:
            return
        session = self.listener.session
        for step in range(MOST_STEPS):
            session.step()
            if session.phase is Phase.CONNECTING and step < STEPS_TO_CONNECT and session._call is not None:
                continue
            if session._call is None and (session._all_read or session._connection is None):
                return

    def close(self) -> None:
        self.listener.__exit__()
