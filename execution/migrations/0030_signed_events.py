from django.db import migrations, models


class Migration(migrations.Migration):
    """An event's identity is its producer's, and the nonces of signatures are remembered."""

    dependencies = [("execution", "0029_journal_chain")]

    operations = [
        migrations.CreateModel(
            name="SeenNonce",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key_id", models.CharField(max_length=64)),
                ("nonce", models.CharField(max_length=64)),
                ("stream", models.CharField(max_length=100)),
                ("entry_id", models.CharField(max_length=64)),
                ("signed_at", models.DateTimeField()),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("key_id", "nonce"), name="nonce_once")],
                "indexes": [models.Index(fields=["signed_at"], name="nonce_signed")],
            },
        ),
        migrations.AddField(
            model_name="inboxevent",
            name="producer",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
        migrations.RemoveConstraint(model_name="inboxevent", name="inbox_identity_once"),
        migrations.AddConstraint(
            model_name="inboxevent",
            constraint=models.UniqueConstraint(
                fields=("event_type", "identity", "producer"), name="inbox_identity_once"
            ),
        ),
    ]
