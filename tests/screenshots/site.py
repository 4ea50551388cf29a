"""The admin on books of its own: a real PostgreSQL and Valkey, Django on a free port, and somebody who may sign in."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from threading import Thread
from typing import TYPE_CHECKING

from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.db import connection

from local_stack.postgres import start_postgres
from local_stack.valkey import start_valkey
from tests.services import DEFAULTS, PAPER

if TYPE_CHECKING:
    from tests.screenshots.books import Shown

USER = "operator"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where the admin is, how to sign in, and the rows that are shown."""

    url: str
    password: str
    shown: "Shown"


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Write nothing: the pictures are the output."""


@contextmanager
def site() -> Iterator[Site]:
    """Start everything, and stop it in reverse order at the end."""
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="execution-screenshots-")))
        postgres = start_postgres(folder / "postgres", durable=False)
        undo.callback(postgres.stop)
        valkey = start_valkey(folder / "valkey", durable=False)
        undo.callback(valkey.stop)
        os.environ |= {**DEFAULTS, **PAPER, "DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
        os.environ |= {"DJANGO_SETTINGS_MODULE": "execution_project.settings", "LOG_LEVEL": "CRITICAL"}
        application = get_wsgi_application()
        undo.callback(connection.close)
        call_command("migrate", verbosity=0)
        password, shown = _filled()
        yield Site(url=undo.enter_context(_served(application)), password=password, shown=shown)


def _filled() -> tuple[str, "Shown"]:
    """Write the books and who may sign in; return the password and the rows that are shown."""
    # Models can be imported once Django is set up.
    from django.contrib.auth.models import User  # noqa: PLC0415

    from tests.screenshots.books import write_books  # noqa: PLC0415

    password = token_urlsafe(16)
    User.objects.create_superuser(USER, password=password)
    shown = write_books()
    connection.close()
    return password, shown


@contextmanager
def _served(application: WSGIHandler) -> Iterator[str]:
    server = ThreadedWSGIServer(("127.0.0.1", 0), QuietHandler)
    server.daemon_threads = True
    server.set_app(application)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)
