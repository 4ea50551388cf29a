from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0020_external_positions"),
    ]

    operations = [
        migrations.AddField(
            model_name="impediment",
            name="ends_at",
            field=models.DateTimeField(null=True),
        ),
    ]
