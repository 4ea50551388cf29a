"""Metrics that survive a restart and sum over all processes, each added to in one statement."""

from django.db import models

from execution.models.fields import code


class Metric(models.Model):
    """A counter of one kind, or one bucket of a histogram: how many, and their sum."""

    name = code(40)
    kind = code(64, blank=True)
    # The bucket's upper bound as Prometheus writes it; empty for counters.
    bound = code(8, blank=True)
    count = models.BigIntegerField()
    total = models.FloatField(default=0)

    class Meta:
        verbose_name = "metric"
        verbose_name_plural = "metrics"
        constraints = [models.UniqueConstraint(fields=["name", "kind", "bound"], name="metric_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.kind}{self.bound}: {self.count}"
