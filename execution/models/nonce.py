"""The nonces of seen signatures, so that a copied signed entry is not taken a second time."""

from django.db import models


class SeenNonce(models.Model):
    """One signature, and the entry that it came in.

    The same entry may come again, another one with this signature may not.

    Kept for as long as the signature would still be believed, and as long again (`domain/signatures.py`).
    """

    key_id = models.CharField(max_length=64)
    nonce = models.CharField(max_length=64)
    stream = models.CharField(max_length=100)
    entry_id = models.CharField(max_length=64)
    signed_at = models.DateTimeField()

    class Meta:
        verbose_name = "seen signature"
        verbose_name_plural = "seen signatures"
        constraints = [models.UniqueConstraint(fields=["key_id", "nonce"], name="nonce_once")]
        indexes = [
            # Read by retention.
            models.Index(fields=["signed_at"], name="nonce_signed"),
        ]

    def __str__(self) -> str:
        return f"{self.key_id} {self.nonce}"
