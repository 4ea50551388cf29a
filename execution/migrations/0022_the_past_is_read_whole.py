from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0021_impediments_know_the_end"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="income",
            name="income_booked_once",
        ),
        migrations.AddField(
            model_name="fill",
            name="pnl_asset",
            field=models.CharField(blank=True, max_length=16),
        ),
        migrations.AddField(
            model_name="fill",
            name="pnl_value",
            field=models.DecimalField(blank=True, decimal_places=18, max_digits=36, null=True),
        ),
        migrations.AddField(
            model_name="order",
            name="accepted_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="order",
            name="missing_since",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="trade",
            name="assumed_cost",
            field=models.DecimalField(decimal_places=18, default=0, max_digits=36),
        ),
        migrations.AddField(
            model_name="trade",
            name="unvalued_income",
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddConstraint(
            model_name="income",
            constraint=models.UniqueConstraint(fields=("trade", "kind", "transaction_id"), name="income_booked_once"),
        ),
        migrations.AddConstraint(
            model_name="income",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "FUNDING_FEE"), _negated=True),
                fields=("kind", "transaction_id"),
                name="income_of_one_trade",
            ),
        ),
    ]
