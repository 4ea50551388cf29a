from django.db import migrations, models


class Migration(migrations.Migration):
    """Numbers that grow with every try or reading: a small integer ends after days, and every write with it."""

    dependencies = [("execution", "0021_impediments_know_the_end")]

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
    ]
