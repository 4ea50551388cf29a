"""Fills as the stream told them, and the income of the whole account: each is read once for everybody."""

import django.db.models.deletion
from django.db import migrations, models

# The rule of migration 0027 for what is new.
NUMBERS = {
    "execution_accountincome": ("amount",),
    "execution_toldfill": ("price", "quantity", "realized_pnl", "commission"),
}
REFUSE_NAN = [
    f"ALTER TABLE {table} ADD CONSTRAINT {table}_numbers CHECK ("
    + " AND ".join(f"{name} <> 'NaN'" for name in columns)
    + ")"
    for table, columns in NUMBERS.items()
]


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0034_no_level_is_null"),
    ]

    operations = [
        migrations.CreateModel(
            name="AccountIncome",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=32)),
                ("transaction_id", models.CharField(max_length=40)),
                ("symbol", models.CharField(blank=True, max_length=40)),
                ("amount", models.DecimalField(decimal_places=18, max_digits=36)),
                ("asset", models.CharField(max_length=16)),
                ("at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "account income",
                "verbose_name_plural": "account income",
                "indexes": [models.Index(fields=["kind", "symbol", "at"], name="account_income_of_symbol")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["FUNDING_FEE", "INSURANCE_CLEAR"])),
                        name="account_income_kind_known",
                    ),
                    models.UniqueConstraint(
                        fields=("kind", "transaction_id", "symbol", "at"), name="account_income_read_once"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="IncomeReading",
            fields=[
                ("kind", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("covers_from", models.DateTimeField()),
                ("read_to", models.DateTimeField()),
                ("read_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "income reading",
                "verbose_name_plural": "income readings",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["FUNDING_FEE", "INSURANCE_CLEAR"])),
                        name="income_reading_kind_known",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ToldFill",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("symbol", models.CharField(max_length=40)),
                ("exchange_trade_id", models.BigIntegerField()),
                ("exchange_order_id", models.CharField(max_length=32)),
                ("buyer", models.BooleanField()),
                ("position_side", models.CharField(max_length=5)),
                ("price", models.DecimalField(decimal_places=18, max_digits=36)),
                ("quantity", models.DecimalField(decimal_places=18, max_digits=36)),
                ("realized_pnl", models.DecimalField(decimal_places=18, max_digits=36)),
                ("commission", models.DecimalField(decimal_places=18, max_digits=36)),
                ("commission_asset", models.CharField(max_length=16)),
                ("maker", models.BooleanField()),
                ("filled_at", models.DateTimeField()),
                ("told_at", models.DateTimeField()),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="told_fills", to="execution.order"
                    ),
                ),
            ],
            options={
                "verbose_name": "fill told by the stream",
                "verbose_name_plural": "fills told by the stream",
                "constraints": [
                    models.UniqueConstraint(fields=("symbol", "exchange_trade_id"), name="fill_told_once"),
                    models.CheckConstraint(
                        condition=models.Q(("price__gt", 0), ("quantity__gt", 0)), name="told_fill_positive"
                    ),
                ],
            },
        ),
        # Each ends with its table.
        *(migrations.RunSQL(statement, migrations.RunSQL.noop) for statement in REFUSE_NAN),
    ]
