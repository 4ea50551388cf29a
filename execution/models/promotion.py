"""Models that were promoted upstream: recorded, and named on the trades that follow."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models


class ModelPromotion(models.Model):
    """One promotion, as announced."""

    model = models.CharField(max_length=100)
    old_version = models.CharField(max_length=100, blank=True)
    new_version = models.CharField(max_length=100)
    details = models.JSONField(encoder=DjangoJSONEncoder)
    promoted_at = models.DateTimeField()
    received_at = models.DateTimeField()

    class Meta:
        verbose_name = "model promotion"
        verbose_name_plural = "model promotions"
        indexes = [
            # Read when a trade opens: the newest version of its model.
            models.Index(fields=["model", "-promoted_at"], name="promotion_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.new_version}"
