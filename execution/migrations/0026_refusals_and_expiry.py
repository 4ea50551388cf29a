from django.db import migrations, models


class Migration(migrations.Migration):
    """Numbers that grow with every try or reading, and what ends an entry that rests.

    A small integer is full after days of readings, and every write of its row fails from then on.
    """

    dependencies = [("execution", "0025_quote_assets_of_before")]

    operations = [
        migrations.AlterField(model_name="order", name="sequence", field=models.PositiveIntegerField()),
        migrations.AlterField(
            model_name="order", name="missing_readings", field=models.PositiveIntegerField(default=0)
        ),
        migrations.AlterField(model_name="trade", name="flat_readings", field=models.PositiveIntegerField(default=0)),
        migrations.AlterField(
            model_name="externalposition", name="flat_readings", field=models.PositiveIntegerField(default=0)
        ),
        migrations.AddField(model_name="order", name="cancel_tries", field=models.PositiveIntegerField(default=0)),
        migrations.AddField(
            model_name="order", name="cancel_tried_at", field=models.DateTimeField(blank=True, null=True)
        ),
        migrations.AddField(model_name="order", name="expired_at", field=models.DateTimeField(blank=True, null=True)),
        migrations.AddField(
            model_name="executionrequest",
            name="entry_expires_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
