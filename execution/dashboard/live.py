"""Brings the board to every viewer, rendered once for all with the same rights.

One thread looks at the events' cursor twice a second while pages are open, and renders. A viewer's stream waits for
what it has rendered: it asks no database and renders nothing, so that many viewers cost little more than one. Streams
are bounded in number and in time; a page beyond the number polls, and gets what was rendered for the others.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Condition, Lock, Thread

import structlog
from django.db import DatabaseError, InterfaceError, connection

from execution_project.stopping import STOPPING
from execution_project.waits import Kind, kind_held

log = structlog.get_logger(__name__)
LOOK_SECONDS = 0.4
# Ages and prices change without an event.
FRESH_SECONDS = 2.0
# A stream ends after this long, and the browser opens another one: with a new look at who is signed in.
STREAM_SECONDS = 60.0
WAIT_SECONDS = 1.0
RETRY = b"retry: 1000\n\n"
ALIVE = b": alive\n\n"

Rights = frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A rendered board. Numbers grow."""

    number: int
    html: str
    at: float


class Board:
    """The board of this process.

    `render` writes it for some rights, `cursor` returns the id of the newest certain event.
    """

    def __init__(
        self,
        *,
        render: Callable[[Rights], str],
        cursor: Callable[[], int | None],
        most_streams: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._render = render
        self._cursor = cursor
        self._most_streams = most_streams
        self.monotonic = monotonic
        self._changed = Condition()
        # Of pages that poll at once, one renders.
        self._polled = Lock()
        self._viewers: Counter[Rights] = Counter()
        self._frames: dict[Rights, Frame] = {}
        self._number = 0
        self._thread: Thread | None = None

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return self._viewers.total()

    def html(self, rights: Rights) -> str:
        """Return the board for a page that polls: as it was rendered a moment ago, or anew."""
        with self._polled:
            frame = self._frames.get(rights)
            if frame is None or self.monotonic() - frame.at >= LOOK_SECONDS:
                frame = self._renew(rights)
            return frame.html

    def subscribe(self, rights: Rights) -> "Subscription | None":
        """Return a stream of boards, or None when as many are open as may be."""
        with self._changed:
            if self.streams >= self._most_streams:
                return None
            self._viewers[rights] += 1
            if self._thread is None:
                self._thread = Thread(target=self._watch, name="dashboard", daemon=True)
                self._thread.start()
        return Subscription(self, rights)

    def leave(self, rights: Rights) -> None:
        """Count one stream less."""
        with self._changed:
            self._viewers[rights] -= 1
            if self._viewers[rights] <= 0:
                del self._viewers[rights]
                self._frames.pop(rights, None)

    def frame_after(self, rights: Rights, number: int, *, within_seconds: float) -> Frame | None:
        """Wait for a board that is newer than this number. None: there was none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_newer(rights, number) or STOPPING.is_set(), within_seconds)
            return self._frames[rights] if self._is_newer(rights, number) else None

    def _is_newer(self, rights: Rights, number: int) -> bool:
        frame = self._frames.get(rights)
        return frame is not None and frame.number > number

    def _watch(self) -> None:
        """Render until the last viewer has left, whatever a rendering meets."""
        seen: int | None = None
        try:
            while self._has_viewers():
                try:
                    seen = self._look(seen)
                except (DatabaseError, InterfaceError) as error:
                    # Pages notice by themselves that no news comes, and show it.
                    log.warning("dashboard_not_rendered", error=type(error).__name__)
                    connection.close()
                STOPPING.wait(LOOK_SECONDS)
        except Exception:
            log.exception("dashboard_watch_failed")
            with self._changed:
                self._thread = None
        finally:
            connection.close()

    def _has_viewers(self) -> bool:
        """Whether to go on. The thread resigns under the lock, so that the next viewer starts another one."""
        with self._changed:
            if self.streams and not STOPPING.is_set():
                return True
            self._thread = None
            return False

    def _look(self, seen: int | None) -> int | None:
        newest = self._cursor()
        for rights in list(self._viewers):
            frame = self._frames.get(rights)
            if frame is None or newest != seen or self.monotonic() - frame.at >= FRESH_SECONDS:
                self._renew(rights)
        return newest

    def _renew(self, rights: Rights) -> Frame:
        at = self.monotonic()
        html = self._render(rights)
        with self._changed:
            self._number += 1
            frame = self._frames[rights] = Frame(number=self._number, html=html, at=at)
            self._changed.notify_all()
        return frame


class Subscription:
    """One viewer's stream of server-sent events. The server closes it, also when it was never read."""

    def __init__(self, board: Board, rights: Rights) -> None:
        self._board = board
        self._rights = rights
        self._closed = False
        self._events = self._stream()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._events)

    def close(self) -> None:
        """Free the place. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._board.leave(self._rights)

    def _stream(self) -> Iterator[bytes]:
        if kind_held() is Kind.WEB:
            # The session was read in this thread, which needs no database from here on.
            connection.close()
        number, ends = 0, self._board.monotonic() + STREAM_SECONDS
        yield RETRY
        while self._board.monotonic() < ends and not STOPPING.is_set():
            frame = self._board.frame_after(self._rights, number, within_seconds=WAIT_SECONDS)
            if frame is None:
                # It reveals a viewer who has left.
                yield ALIVE
            else:
                number = frame.number
                yield as_event("board", frame.html)
        self.close()


def as_event(name: str, text: str) -> bytes:
    """Write a server-sent event, without the indents of a template."""
    lines = [line for each in text.splitlines() if (line := each.strip())]
    return "".join([f"event: {name}\n", *(f"data: {line}\n" for line in lines), "\n"]).encode()
