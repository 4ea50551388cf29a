"""Signatures by private key, RSA (PKCS#1 v1.5, SHA-256) and Ed25519, checked with the public key."""

import binascii
from base64 import b64decode
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import eddsa, pkcs1_15

Verify = Callable[[bytes, bytes], None]
_ED25519: Final = "Ed25519"


class KeyTextError(ValueError):
    """A text that is no public key of a kind that the exchange takes."""


def check_key(pem: str) -> None:
    """Raise KeyTextError for a text that is no RSA or Ed25519 public key."""
    _verifier(pem)


def is_ed25519(pem: str) -> bool:
    try:
        return bool(ECC.import_key(pem).curve == _ED25519)
    except ValueError:
        return False


def is_signed_by(pem: str, payload: bytes, signature: str) -> bool:
    """Return whether a signature in base64 is that key's over the payload."""
    try:
        _verifier(pem)(payload, b64decode(signature, validate=True))
    except (ValueError, binascii.Error):
        return False
    return True


@lru_cache(maxsize=64)
def _verifier(pem: str) -> Verify:
    """Return what raises ValueError for a wrong signature."""
    if is_ed25519(pem):
        edwards = eddsa.new(ECC.import_key(pem), "rfc8032")
        return edwards.verify
    try:
        rsa = pkcs1_15.new(RSA.import_key(pem))
    except (ValueError, IndexError, TypeError) as error:
        raise KeyTextError("a public key is a PEM of RSA or Ed25519") from error

    def verify(payload: bytes, signature: bytes) -> None:
        rsa.verify(SHA256.new(payload), signature)

    return verify
