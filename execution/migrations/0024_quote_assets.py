from django.db import migrations, models

PRICE = {"max_digits": 36, "decimal_places": 18, "null": True, "blank": True}


def asset_and_price(model: str) -> list[migrations.AddField]:
    """Add what a row's amounts are in, and what one unit of it is worth in USD."""
    return [
        migrations.AddField(
            model_name=model,
            name="quote_asset",
            field=models.CharField(blank=True, default="", max_length=32),
            preserve_default=False,
        ),
        migrations.AddField(model_name=model, name="quote_index", field=models.DecimalField(**PRICE)),
    ]


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0023_brackets_follow_the_filters"),
    ]

    operations = [
        *asset_and_price("executionrequest"),
        *asset_and_price("trade"),
        *asset_and_price("position"),
        migrations.AddField(
            model_name="trade",
            name="margin",
            field=models.DecimalField(decimal_places=18, default=0, max_digits=36),
            preserve_default=False,
        ),
        migrations.AlterField(model_name="trade", name="margin_usd", field=models.DecimalField(**PRICE)),
        migrations.AddField(model_name="trade", name="net_pnl_usd", field=models.DecimalField(**PRICE)),
    ]
