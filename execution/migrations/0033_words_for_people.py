"""What the admin calls each table, one and many; the tables stay as they are."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0032_software_stop"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="accountlease",
            options={"verbose_name": "account lease", "verbose_name_plural": "account leases"},
        ),
        migrations.AlterModelOptions(
            name="bracket",
            options={"verbose_name": "protection plan", "verbose_name_plural": "protection plans"},
        ),
        migrations.AlterModelOptions(
            name="bracketleg",
            options={"verbose_name": "protection leg", "verbose_name_plural": "protection legs"},
        ),
        migrations.AlterModelOptions(
            name="deadletter",
            options={
                "permissions": [("redrive_deadletter", "Can correct a dead letter and drive it again")],
                "verbose_name": "dead letter",
                "verbose_name_plural": "dead letters",
            },
        ),
        migrations.AlterModelOptions(
            name="entryclaim",
            options={"verbose_name": "entry claim", "verbose_name_plural": "entry claims"},
        ),
        migrations.AlterModelOptions(
            name="entryhold",
            options={"verbose_name": "entry hold", "verbose_name_plural": "entry holds"},
        ),
        migrations.AlterModelOptions(
            name="essstatus",
            options={"verbose_name": "emergency stop", "verbose_name_plural": "emergency stop"},
        ),
        migrations.AlterModelOptions(
            name="executionrequest",
            options={"verbose_name": "request", "verbose_name_plural": "requests"},
        ),
        migrations.AlterModelOptions(
            name="externalposition",
            options={"verbose_name": "external position", "verbose_name_plural": "external positions"},
        ),
        migrations.AlterModelOptions(
            name="figure",
            options={"verbose_name": "figure", "verbose_name_plural": "figures"},
        ),
        migrations.AlterModelOptions(
            name="fill",
            options={"verbose_name": "fill", "verbose_name_plural": "fills"},
        ),
        migrations.AlterModelOptions(
            name="heartbeat",
            options={"verbose_name": "heartbeat", "verbose_name_plural": "heartbeats"},
        ),
        migrations.AlterModelOptions(
            name="impediment",
            options={"verbose_name": "impediment", "verbose_name_plural": "impediments"},
        ),
        migrations.AlterModelOptions(
            name="inboxevent",
            options={"verbose_name": "event in", "verbose_name_plural": "events in"},
        ),
        migrations.AlterModelOptions(
            name="income",
            options={"verbose_name": "income line", "verbose_name_plural": "income"},
        ),
        migrations.AlterModelOptions(
            name="journalhead",
            options={"verbose_name": "journal head", "verbose_name_plural": "journal head"},
        ),
        migrations.AlterModelOptions(
            name="journalseal",
            options={"verbose_name": "journal seal", "verbose_name_plural": "journal seals"},
        ),
        migrations.AlterModelOptions(
            name="killswitch",
            options={
                "permissions": [("move_killswitch", "Can move the kill switch")],
                "verbose_name": "kill switch engagement",
                "verbose_name_plural": "kill switch engagements",
            },
        ),
        migrations.AlterModelOptions(
            name="modelpromotion",
            options={"verbose_name": "model promotion", "verbose_name_plural": "model promotions"},
        ),
        migrations.AlterModelOptions(
            name="order",
            options={"verbose_name": "order", "verbose_name_plural": "orders"},
        ),
        migrations.AlterModelOptions(
            name="outboxevent",
            options={"verbose_name": "event out", "verbose_name_plural": "events out"},
        ),
        migrations.AlterModelOptions(
            name="outboxsequence",
            options={"verbose_name": "event sequence", "verbose_name_plural": "event sequences"},
        ),
        migrations.AlterModelOptions(
            name="policyvalue",
            options={"verbose_name": "policy value", "verbose_name_plural": "policy values"},
        ),
        migrations.AlterModelOptions(
            name="position",
            options={"verbose_name": "position", "verbose_name_plural": "positions"},
        ),
        migrations.AlterModelOptions(
            name="quarantinedrow",
            options={"verbose_name": "quarantined row", "verbose_name_plural": "quarantined rows"},
        ),
        migrations.AlterModelOptions(
            name="seennonce",
            options={"verbose_name": "seen signature", "verbose_name_plural": "seen signatures"},
        ),
        migrations.AlterModelOptions(
            name="streamloss",
            options={"verbose_name": "stream loss", "verbose_name_plural": "stream losses"},
        ),
        migrations.AlterModelOptions(
            name="streamposition",
            options={"verbose_name": "stream position", "verbose_name_plural": "stream positions"},
        ),
        migrations.AlterModelOptions(
            name="trade",
            options={"verbose_name": "trade", "verbose_name_plural": "trades"},
        ),
        migrations.AlterModelOptions(
            name="transition",
            options={"verbose_name": "journal line", "verbose_name_plural": "journal lines"},
        ),
    ]
