from typing import Any

from django.db import migrations, models
from django.db.models import Q

# NaN is a number to PostgreSQL, and nothing that calculates survives it.
NUMERIC_COLUMNS = """
    SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name LIKE 'execution\\_%%' AND data_type = 'numeric'
    GROUP BY table_name
"""


def refuse_nan(_apps: Any, schema_editor: Any) -> None:
    for table, columns in _numeric_columns(schema_editor):
        condition = " AND ".join(f"\"{column}\" <> 'NaN'" for column in columns)
        # Not valid: a row of before that breaks it must not keep the service from being upgraded.
        schema_editor.execute(f'ALTER TABLE "{table}" ADD CONSTRAINT {table}_numbers CHECK ({condition}) NOT VALID')


def allow_nan(_apps: Any, schema_editor: Any) -> None:
    for table, _ in _numeric_columns(schema_editor):
        schema_editor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT IF EXISTS {table}_numbers')


def _numeric_columns(schema_editor: Any) -> list[tuple[str, list[str]]]:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(NUMERIC_COLUMNS, [])
        found: list[tuple[str, list[str]]] = cursor.fetchall()
        return found


class Migration(migrations.Migration):
    """Rows that cannot be used are set aside with their reason, and no column takes what is not a number."""

    dependencies = [("execution", "0026_refusals_and_expiry")]

    operations = [
        migrations.CreateModel(
            name="QuarantinedRow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("table", models.CharField(max_length=64)),
                ("row_id", models.CharField(max_length=100)),
                ("problem", models.TextField()),
                ("symbol", models.CharField(blank=True, max_length=40)),
                ("position_side", models.CharField(blank=True, max_length=5)),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("released_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(released_at__isnull=True), fields=("table", "row_id"), name="quarantine_once"
                    )
                ],
            },
        ),
        migrations.RunPython(refuse_nan, allow_nan),
    ]
