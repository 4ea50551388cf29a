"""Since when the mark price is past a live stop, since when for too long, and what a trailing stop has seen."""

from typing import Any

from django.db import migrations, models

CONDITION = """
    SELECT string_agg(format('%%I <> %%L', column_name, 'NaN'), ' AND ' ORDER BY ordinal_position)
    FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name = 'execution_order' AND data_type = 'numeric'
"""
NUMBERS = "execution_order_numbers"


def refuse_nan(_apps: Any, schema_editor: Any) -> None:
    """Hold the new number, too, to the rule of migration 0027."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(CONDITION, [])
        [(condition,)] = cursor.fetchall()
    schema_editor.execute(f"ALTER TABLE execution_order DROP CONSTRAINT IF EXISTS {NUMBERS}")
    schema_editor.execute(f"ALTER TABLE execution_order ADD CONSTRAINT {NUMBERS} CHECK ({condition}) NOT VALID")


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
        migrations.RunPython(refuse_nan, migrations.RunPython.noop),
    ]
