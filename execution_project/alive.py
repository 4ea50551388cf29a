"""Shows from outside that a worker consumes: it touches a file with every heartbeat that it sends over the broker.

Remote control is off (celeryconfig.py), so a worker cannot be asked over the broker. A worker that hangs, or that has
lost the broker, sends no heartbeat; its file grows old, and the health check of its container fails.
"""

from pathlib import Path


class AliveFile:
    """Named by `WORKER_ALIVE_FILE`; none when that is empty."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None

    def touch(self, **_: object) -> None:
        if self._path:
            self._path.touch(mode=0o600)
