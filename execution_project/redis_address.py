"""One reading of an address of Redis, for every client alike: redis-py for bus, state and health, kombu for the broker.

They do not read the same address in the same way. kombu takes no TLS from `rediss://` alone and would send the password
in clear text; it refuses `?db=` and `?password=`, which redis-py knows; and it has no `unix://`. So the address is read
here, completed with the files of TLS, and each client gets what it understands. TLS is never without verification.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from execution_project.addresses import in_url

PLAIN, ENCRYPTED, SOCKET = "redis", "rediss", "unix"
SHAPE = "redis://[user][:password]@host[:port][/number]"
ENCODE = "Percent-encode a password's special characters."
LOGIN_WORDS = frozenset({"db", "username", "password"})
# Words of TLS in an address, by redis-py's names, and the setting that says the same.
TLS_FILES = {
    "ssl_ca_certs": "REDIS_TLS_CA_FILE",
    "ssl_certfile": "REDIS_TLS_CERT_FILE",
    "ssl_keyfile": "REDIS_TLS_KEY_FILE",
}
# They may be said, and nothing else may be said instead.
ALWAYS = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}


@dataclass(frozen=True, kw_only=True)
class RedisAddress:
    """What an address says. `path`: of a socket of this machine, then host and port mean nothing."""

    scheme: str
    host: str = ""
    port: int = 6379
    database: int = 0
    username: str = ""
    password: str = ""
    path: str = ""
    tls: Mapping[str, str]

    @property
    def url(self) -> str:
        """The address for redis-py, which reads the options of TLS from it."""
        login = _login(self.username, self.password)
        if self.scheme == SOCKET:
            return f"unix://{login}{quote(self.path)}?db={self.database}"
        words = f"?{urlencode({**ALWAYS, **self.tls})}" if self.scheme == ENCRYPTED else ""
        return f"{self.scheme}://{login}{self._location}{words}"

    @property
    def broker_url(self) -> str:
        """The address for kombu, which gets everything else apart."""
        login = _login(self.username, self.password)
        return f"{PLAIN if self.scheme == SOCKET else self.scheme}://{login}{self._location}"

    @property
    def broker_tls(self) -> dict[str, Any] | None:
        """Celery's `broker_use_ssl`; None: the connection is not encrypted."""
        if self.scheme != ENCRYPTED:
            return None
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **self.tls}

    @property
    def _location(self) -> str:
        return f"{in_url(self.host or 'localhost')}:{self.port}/{self.database}"


def read_redis(url: str, *, name: str = "REDIS_URL", files: Mapping[str, str] | None = None) -> RedisAddress:
    """Read an address, and complete it with the files of TLS that the settings name, by redis-py's names.

    Raises:
        ValueError: it cannot be read, or asks for TLS that proves nothing; the message does not repeat the address.

    """
    try:
        parts = urlsplit(url)
        port, words = parts.port, dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        raise ValueError(f"{name} cannot be read as {SHAPE}. {ENCODE}") from None
    if parts.scheme not in {PLAIN, ENCRYPTED, SOCKET} or port == 0 or parts.fragment:
        raise ValueError(f"{name} cannot be read as {SHAPE}. {ENCODE}")
    is_socket = parts.scheme == SOCKET
    return RedisAddress(
        scheme=parts.scheme,
        host="" if is_socket else unquote(parts.hostname or ""),
        port=port or 6379,
        database=_database(words.get("db") or ("" if is_socket else parts.path.strip("/")), name),
        username=unquote(parts.username or "") or words.get("username", ""),
        password=unquote(parts.password or "") or words.get("password", ""),
        path=unquote(parts.path) if is_socket else "",
        tls=_tls(parts.scheme, words, dict(files or {}), name),
    )


def check_tls_files(files: Mapping[str, str]) -> None:
    """Raise ValueError, in one line, for files of TLS that no connection could use."""
    authority, certificate, key = (files.get(word, "") for word in TLS_FILES)
    if bool(certificate) != bool(key):
        raise ValueError("REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE belong together: give both or none")
    context = ssl.create_default_context()
    try:
        if authority:
            context.load_verify_locations(cafile=authority)
    except OSError as error:
        raise ValueError(f"REDIS_TLS_CA_FILE holds no certificates that can be read: {_why(error)}") from None
    try:
        if certificate:
            context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE are no certificate and its key: {_why(error)}"
        ) from None


def _login(username: str, password: str) -> str:
    if not username and not password:
        return ""
    apart = f":{quote(password, safe='')}" if password else ""
    return f"{quote(username, safe='')}{apart}@"


def _database(text: str, name: str) -> int:
    if text and not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{name} must end in the number of a database, such as /0")
    return int(text or 0)


def _tls(scheme: str, words: dict[str, str], files: dict[str, str], name: str) -> dict[str, str]:
    """Return the files of TLS, from the address or the settings."""
    strange = sorted(set(words) - LOGIN_WORDS - set(TLS_FILES) - set(ALWAYS))
    if strange:
        # A bound of ours that an address changes would be none.
        raise ValueError(f"{name} has options that are not read: {', '.join(strange)[:100]}")
    said = {word: value for word, value in words.items() if word.startswith("ssl_")}
    if scheme != ENCRYPTED:
        if said:
            raise ValueError(f"{name} has options of TLS and does not begin with rediss://: nothing would be encrypted")
        return {}
    _refuse_unproven(said, name)
    for word, setting in TLS_FILES.items():
        if said.get(word) and files.get(word) and said[word] != files[word]:
            raise ValueError(f"{name} and {setting} name different files")
    return {word: found for word in TLS_FILES if (found := said.get(word) or files.get(word, ""))}


def _refuse_unproven(said: dict[str, str], name: str) -> None:
    """Refuse encryption to whoever answers: it keeps nothing from somebody in between."""
    for word, wanted in ALWAYS.items():
        if said.get(word, wanted).lower().removeprefix("cert_") != wanted:
            raise ValueError(
                f"{name} must not set {word}={said[word][:20]}: the server would not have to prove who it is; "
                "REDIS_TLS_CA_FILE names the authority that signed its certificate"
            )


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
