"""Since when the mark price is past a live stop, since when for too long, and what a trailing stop has seen."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0030_signed_events"),
    ]

    operations = [
        migrations.AddField(
            model_name="order",
            name="best_mark",
            field=models.DecimalField(blank=True, decimal_places=18, max_digits=36, null=True),
        ),
        migrations.AddField(
            model_name="order",
            name="overdue_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="order",
            name="passed_since",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
