from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0022_the_past_is_read_whole"),
    ]

    operations = [
        migrations.AddField(
            model_name="bracket",
            name="maximum_quantity",
            field=models.DecimalField(blank=True, decimal_places=18, max_digits=36, null=True),
        ),
        migrations.AddField(
            model_name="bracket",
            name="regridded_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
