"""Certificates of servers on loopback, good and bad, made by the command of OpenSSL."""

import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
HERE = "DNS:localhost,IP:127.0.0.1"
ISSUING = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""


@dataclass(frozen=True, kw_only=True)
class Authority:
    """Who signs certificates; the clients of a test may trust it by `certificate`, a file."""

    folder: Path
    name: str

    @property
    def certificate(self) -> Path:
        return self.folder / f"{self.name}.pem"

    @property
    def key(self) -> Path:
        return self.folder / f"{self.name}.key"


def authority(folder: Path, name: str) -> Authority:
    """Make an authority in a folder."""
    made = Authority(folder=folder, name=name)
    run("req", "-x509", *NEW_KEY, "-keyout", made.key, "-out", made.certificate, "-subj", f"/CN={name}", "-days", "2")
    return made


def server(
    folder: Path,
    *,
    signed_by: Authority | None,
    hosts: str = HERE,
    starts_in: timedelta = -timedelta(days=1),
    ends_in: timedelta = timedelta(days=1),
) -> ssl.SSLContext:
    """Return what a server proves itself with; nobody has signed it: it is signed by itself."""
    certificate, key = pair(folder, signed_by=signed_by, hosts=hosts, starts_in=starts_in, ends_in=ends_in)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def pair(
    folder: Path,
    *,
    signed_by: Authority | None,
    hosts: str = HERE,
    starts_in: timedelta = -timedelta(days=1),
    ends_in: timedelta = timedelta(days=1),
    passphrase: str = "",
) -> tuple[Path, Path]:
    """Make a certificate and its key in a new folder, for a server or a client; return both files."""
    folder.mkdir()
    key, wish, certificate = folder / "key.pem", folder / "wish.pem", folder / "certificate.pem"
    subject = ("-subj", "/CN=localhost", "-addext", f"subjectAltName={hosts}")
    if signed_by is None:
        run("req", "-x509", *NEW_KEY, "-keyout", key, "-out", certificate, *subject, "-days", "1")
    else:
        run("req", *NEW_KEY, "-keyout", key, "-out", wish, *subject)
        _issue(signed_by, wish, certificate, starts_in, ends_in)
    if passphrase:
        run("ec", "-in", key, "-aes256", "-passout", f"pass:{passphrase}", "-out", key)
    return certificate, key


def _issue(by: Authority, wish: Path, certificate: Path, starts_in: timedelta, ends_in: timedelta) -> None:
    settings = certificate.parent / "ca.conf"
    (certificate.parent / "index").touch()
    settings.write_text(ISSUING.format(folder=certificate.parent))
    now = datetime.now(UTC)
    start, end = (f"{now + away:%Y%m%d%H%M%SZ}" for away in (starts_in, ends_in))
    signs = ("-cert", by.certificate, "-keyfile", by.key, "-startdate", start, "-enddate", end)
    run("ca", "-batch", "-config", settings, *signs, "-in", wish, "-out", certificate, "-notext")


def run(*words: str | Path) -> None:
    subprocess.run(("openssl", *map(str, words)), check=True, capture_output=True, timeout=30)
