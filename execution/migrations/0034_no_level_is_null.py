from django.db import migrations, models

EMPTY = """
    UPDATE execution_trade SET stop_price = NULLIF(stop_price, 0), target_price = NULLIF(target_price, 0)
    WHERE stop_price = 0 OR target_price = 0
"""
ZERO = """
    UPDATE execution_trade SET stop_price = COALESCE(stop_price, 0), target_price = COALESCE(target_price, 0)
    WHERE stop_price IS NULL OR target_price IS NULL
"""


class Migration(migrations.Migration):
    """A trade without a stop or a target has none, instead of one at 0."""

    # Each part commits by itself: PostgreSQL changes no table whose rows have waiting checks.
    atomic = False
    dependencies = [("execution", "0033_words_for_people")]

    operations = [
        *(
            migrations.AlterField(
                "trade", name, models.DecimalField(blank=True, decimal_places=18, max_digits=36, null=True)
            )
            for name in ("stop_price", "target_price")
        ),
        migrations.RunSQL(EMPTY, ZERO),
    ]
