"""Flower behind a sign-in, and nothing but a window: `python -m execution_project.flower --address=... --port=...`.

Flower by itself leaves its figures and health open and can revoke tasks, stop workers and send tasks of its own. Here
every address but the package's static files asks for FLOWER_BASIC_AUTH, and every method but reading is refused.
"""

import logging
import sys
from base64 import b64decode
from collections.abc import Sequence
from hmac import compare_digest
from typing import Any

from celery.bin.celery import main as celery_main
from flower import urls
from flower.app import Flower
from flower.views import BaseHandler
from tornado.options import options
from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from execution_project.env import Environment, Mode, environment
from execution_project.redis_address import RedisAddress
from execution_project.strength import PASSWORD_BITS, is_weak

READING = frozenset({"GET", "HEAD"})
BASIC = "Basic "
# A thousand decisions with their steps: Flower's own bound, 100,000, lets its memory grow for days.
MOST_TASKS = 5_000
CHALLENGE = ("WWW-Authenticate", 'Basic realm="flower"')


class SignedInReader(RequestHandler):
    """Comes before each handler of Flower."""

    credentials: tuple[bytes, ...] = ()

    def prepare(self) -> Any:
        """Refuse a client that has not signed in, or that wants to change something."""
        if not self._is_signed_in():
            self.set_header(*CHALLENGE)
            self.set_status(401)
            self.finish("Sign in to see the tasks.")
            return None
        if self.request.method not in READING:
            raise HTTPError(405, "Flower is read-only here.")
        return super().prepare()

    def _is_signed_in(self) -> bool:
        header = self.request.headers.get("Authorization", "")
        try:
            given = b64decode(header.removeprefix(BASIC), validate=True) if header.startswith(BASIC) else b""
        except ValueError:
            return False
        # Each is compared, so that the time shows nothing.
        return sum(compare_digest(given, known) for known in self.credentials) > 0


def guard(credentials: Sequence[str]) -> None:
    """Put the sign-in before every handler that Flower has, those of later versions too."""
    known = tuple(credential.encode() for credential in credentials)
    urls.handlers[:] = [_guarded(rule, known) for rule in urls.handlers]
    # Flower's own check stays on behind ours.
    options.basic_auth = list(credentials)
    options.read_only = True


def _guarded(rule: Any, known: tuple[bytes, ...]) -> Any:
    is_tuple = isinstance(rule, tuple)
    handler = rule[1] if is_tuple else rule.handler_class
    if issubclass(handler, StaticFileHandler):
        return rule
    guarded = type(handler.__name__, (SignedInReader, handler), {"credentials": known})
    if is_tuple:
        return (rule[0], guarded, *rule[2:])
    rule.handler_class = rule.target = guarded
    return rule


def credentials_of(env: Environment) -> list[str]:
    """Return the pairs of user and password that may sign in.

    Raises:
        SystemExit: none is set, one is no pair, or one is weak in live mode.

    """
    pairs = [pair for pair in env.flower_basic_auth.get_secret_value().split(",") if pair]
    passwords = [pair.partition(":")[2] for pair in pairs]
    if not pairs or not all(passwords):
        raise SystemExit("FLOWER_BASIC_AUTH is not set as user:password: Flower shows every task")
    if env.mode is Mode.LIVE and any(is_weak(password, PASSWORD_BITS) for password in passwords):
        raise SystemExit("execution.E026: the password of FLOWER_BASIC_AUTH is weak")
    return pairs


def broker_seen(address: RedisAddress) -> str:
    """Return the address by which Flower's own client reads the lengths of queues.

    It chooses a client by the scheme, and Celery's address begins with the name of our transport instead of one.
    """
    return address.url.replace("unix://", "redis+socket://", 1) if address.path else address.broker_url


def command_line(given: Sequence[str]) -> list[str]:
    """Return Celery's command with Flower's options; what is given comes last, so that it wins."""
    return ["celery", "--quiet", "--app=execution_project", "flower", f"--max-tasks={MOST_TASKS}", *given]


def main() -> None:
    env = environment()
    guard(credentials_of(env))
    Flower.broker_uri_with_password = broker_seen(env.redis_broker)
    # It asks workers by remote control, which is off, and would say after each start that nobody answers.
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)
    sys.argv = command_line(sys.argv[1:])
    celery_main()


if __name__ == "__main__":
    if not issubclass(urls.handlers[0].handler_class, BaseHandler):
        raise SystemExit("This version of Flower has other handlers than the sign-in knows.")
    main()
