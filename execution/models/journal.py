"""The journal's hash chain. Only database functions write it, `manage.py verify_journal` reads it."""

from django.db import models


class JournalSeal(models.Model):
    """One line of the journal as it was when it was sealed. It stays when retention removes the line.

    `digest` is the hash of the line's content, `link` the hash of the link before and the digest. Where retention has
    removed many lines side by side, the last seal stands for all `spans` of them.
    """

    position = models.BigIntegerField(primary_key=True)
    spans = models.BigIntegerField(default=1)
    line_id = models.BigIntegerField(unique=True)
    digest = models.BinaryField(max_length=32)
    link = models.BinaryField(max_length=32)
    # The line of the journal that records that retention has removed this one.
    removed_by = models.BigIntegerField(null=True, blank=True)

    class Meta:
        verbose_name = "journal seal"
        verbose_name_plural = "journal seals"

    def __str__(self) -> str:
        return f"{self.position}: line {self.line_id}"


class JournalHead(models.Model):
    """Where the chain ends: one row.

    Lines up to `line_id` are sealed, and none that is older comes any more. Those up to `pending_id` are next, when the
    transactions in `pending_writers` have ended. `kept_days` is the age below which only the owner removes lines.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    position = models.BigIntegerField(default=0)
    line_id = models.BigIntegerField(default=0)
    link = models.BinaryField(max_length=32, default=b"")
    final_id = models.BigIntegerField(default=0)
    pending_id = models.BigIntegerField(default=0)
    pending_writers = models.TextField(blank=True, default="")
    kept_days = models.PositiveIntegerField(null=True, blank=True, default=1)

    class Meta:
        verbose_name = "journal head"
        verbose_name_plural = "journal head"
        constraints = [models.CheckConstraint(name="journal_one_head", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return f"{self.position}:{bytes(self.link).hex()}"
