"""A stop of our own that stands in for one that the exchange does not take: since when, last seen, and reached."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0031_overdue_stops"),
    ]

    operations = [
        migrations.AddField(
            model_name="bracket",
            name="software_since",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="bracket",
            name="software_seen_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="bracket",
            name="software_passed_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name="bracket",
            index=models.Index(
                condition=models.Q(("software_since__isnull", False)),
                fields=["software_since"],
                name="bracket_software",
            ),
        ),
    ]
