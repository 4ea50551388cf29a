"""The shipped configurations of nginx and Caddy, with the real programs where they are installed.

`scripts/fetch-proxies` unpacks them, as continuous integration does; nothing runs as a service.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import LazySettings
from django.contrib.auth.models import User
from requests.adapters import HTTPAdapter

from local_stack.server import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "deploy/proxy"
UNPACKED = ROOT / ".local" / "proxies" / "usr"
PLACES = os.pathsep.join([str(UNPACKED / "sbin"), str(UNPACKED / "bin"), os.environ["PATH"], "/usr/sbin"])
FOUND = {name: shutil.which(name, path=PLACES) for name in ("nginx", "caddy")}
NAME, PASSWORD = "desk.example.org", "a sentence that nobody guesses"
PUBLIC = f"https://{NAME}"
AROUND = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


class Named(HTTPAdapter):
    """Asks this machine for a site by its public name, as a browser does that has found its address."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, server_hostname=NAME, assert_hostname=False, **options)


def browser() -> requests.Session:
    session = requests.Session()
    session.mount("https://", Named())
    session.verify, session.trust_env = False, False
    session.headers["Host"] = NAME
    return session


def nginx_command(folder: Path, *, upstream: str, http: int, https: int) -> list[str]:
    """Write the shipped site for this machine, with a certificate of its own; return what starts it."""
    pair = ("-keyout", folder / "desk.key", "-out", folder / "desk.pem", "-subj", f"/CN={NAME}", "-days", "2")
    new = ("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    subprocess.run([*new, *map(str, pair)], check=True, capture_output=True, timeout=30)
    site = (SHIPPED / "nginx.conf").read_text()
    site = re.sub(r"^ +listen \[::\].*\n", "", site, flags=re.MULTILINE)
    places = {
        "listen 80": f"listen 127.0.0.1:{http}",
        "listen 443": f"listen 127.0.0.1:{https}",
        "/etc/ssl/desk.pem": f"{folder}/desk.pem",
        "/etc/ssl/private/desk.key": f"{folder}/desk.key",
        "http://127.0.0.1:8002": upstream,
    }
    (folder / "site.conf").write_text(here(site, places))
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder))
    return [str(FOUND["nginx"]), "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]


def caddy_command(folder: Path, *, upstream: str, http: int, https: int) -> list[str]:
    """Write the shipped site for this machine, with a certificate that Caddy signs itself."""
    around = f"{{\n admin off\n skip_install_trust\n http_port {http}\n https_port {https}\n}}\n"
    places = {f"{NAME} {{": f"{NAME} {{\n\ttls internal", "127.0.0.1:8002": upstream.removeprefix("http://")}
    (folder / "Caddyfile").write_text(around + here((SHIPPED / "Caddyfile").read_text(), places))
    return [str(FOUND["caddy"]), "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]


def here(text: str, places: dict[str, str]) -> str:
    for there, place in places.items():
        assert there in text, there
        text = text.replace(there, place)
    return text


COMMANDS = {"nginx": nginx_command, "caddy": caddy_command}
EACH = pytest.mark.parametrize(
    "program",
    [
        pytest.param(name, marks=pytest.mark.skipif(FOUND[name] is None, reason=f"{name} is not installed here"))
        for name in COMMANDS
    ],
)


@contextmanager
def proxy(program: str, folder: Path, upstream: str) -> Iterator[str]:
    """Run the proxy in front of an address; yields its own."""
    http, https = free_port(), free_port()
    command = COMMANDS[program](folder, upstream=upstream.rstrip("/"), http=http, https=https)
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"https://127.0.0.1:{https}"
    try:
        eventually(lambda: answers(address), within=20, what=f"{program} answers")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def answers(address: str) -> bool:
    try:
        return browser().get(f"{address}/health/live", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.skipif(FOUND["caddy"] is None, reason="caddy is not installed here")
def test_caddy_takes_the_shipped_file_as_it_is(tmp_path: Path) -> None:
    command = [str(FOUND["caddy"]), "validate", "--config", str(SHIPPED / "Caddyfile"), "--adapter", "caddyfile"]
    env = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert said.returncode == 0, said.stderr
    assert "Valid configuration" in said.stdout + said.stderr


@pytest.mark.skipif(FOUND["nginx"] is None, reason="nginx is not installed here")
def test_nginx_takes_the_shipped_file(tmp_path: Path) -> None:
    command = nginx_command(tmp_path, upstream="http://127.0.0.1:8002", http=free_port(), https=free_port())
    said = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=60, check=False)

    assert said.returncode == 0, said.stderr
    assert "warn" not in said.stderr


@pytest.fixture
def _desk(settings: LazySettings) -> None:
    """What /etc/execution/environment sets."""
    settings.ENV = settings.ENV.model_copy(update={"public_url": PUBLIC, "trusted_proxies": "127.0.0.1"})
    settings.ALLOWED_HOSTS = settings.ENV.hosts
    settings.CSRF_TRUSTED_ORIGINS = settings.ENV.origins
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@EACH
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_desk")
def test_a_person_signs_in(live_server: Any, tmp_path: Path, program: str) -> None:
    User.objects.create_superuser("anna", password=PASSWORD)
    with proxy(program, tmp_path, live_server.url) as address, browser() as person:
        answer = sign_in(person, address, origin=PUBLIC)
        # It should be a session that lasts, and a page behind it.
        assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
        assert re.search(r"sessionid=\w+;.*Secure", answer.headers["Set-Cookie"])
        assert person.get(f"{address}/admin/", allow_redirects=False, timeout=10).status_code == 200
    with proxy(program, tmp_path, live_server.url) as address, browser() as stranger:
        assert sign_in(stranger, address, origin="https://evil.example.org").status_code == 403


def sign_in(person: requests.Session, address: str, *, origin: str) -> requests.Response:
    page = person.get(f"{address}/admin/login/", timeout=10)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token, page.text[:300]
    return person.post(
        f"{address}/admin/login/",
        data={"username": "anna", "password": PASSWORD, "csrfmiddlewaretoken": token[1], "next": "/admin/"},
        headers={"Origin": origin, "Referer": f"{origin}/admin/login/"},
        allow_redirects=False,
        timeout=10,
    )


@EACH
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_desk")
def test_nobody_claims_to_call_from_this_machine(live_server: Any, tmp_path: Path, program: str) -> None:
    # Without a key, callers of this machine are answered in paper mode, and nobody else.
    path = "/api/execution/positions"
    assert requests.get(f"{live_server.url}{path}", timeout=10).status_code == 200
    claims = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}

    with proxy(program, tmp_path, live_server.url) as address, browser() as stranger:
        for headers in ({}, claims):
            assert stranger.get(f"{address}{path}", headers=headers, timeout=10).status_code == 401
        # It should keep what is too large from the service; Caddy calls the broken transfer a bad gateway.
        too_large = {"nginx": 413, "caddy": 502}[program]
        assert stranger.post(f"{address}{path}", data=b"x" * 70_000, timeout=10).status_code == too_large
