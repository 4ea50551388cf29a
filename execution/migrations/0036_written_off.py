"""Trades and decisions that an operator has written off, and the row that tells of what operators did by hand."""

from django.db import migrations, models

import execution.domain.states
import execution.models.operator_action


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0035_told_fills_and_account_income"),
    ]

    operations = [
        migrations.CreateModel(
            name="OperatorAction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("verb", models.CharField(max_length=32)),
                ("subject", models.UUIDField()),
                ("symbol", models.CharField(max_length=40)),
                ("by", models.CharField(max_length=150)),
                ("reason", models.TextField()),
                ("evidence", models.JSONField(blank=True, default=dict)),
                ("before", models.JSONField(blank=True, default=dict)),
                ("at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "operator action",
                "verbose_name_plural": "operator actions",
            },
        ),
        migrations.AlterModelOptions(
            name="trade",
            options={
                "permissions": [("write_off_trade", "Can write off what the exchange denies")],
                "verbose_name": "trade",
                "verbose_name_plural": "trades",
            },
        ),
        migrations.RemoveConstraint(
            model_name="trade",
            name="trade_state_known",
        ),
        migrations.AddIndex(
            model_name="trade",
            index=models.Index(
                condition=models.Q(("state", execution.domain.states.TradeState["WRITTEN_OFF"])),
                fields=["-entry_at"],
                name="trade_written_off",
            ),
        ),
        migrations.AddConstraint(
            model_name="trade",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            execution.domain.states.TradeState["CLOSED"],
                            execution.domain.states.TradeState["OPEN"],
                            execution.domain.states.TradeState["REDUCED"],
                            execution.domain.states.TradeState["WRITTEN_OFF"],
                        ],
                    )
                ),
                name="trade_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="trade",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", execution.domain.states.TradeState["WRITTEN_OFF"]), _negated=True),
                    models.Q(
                        ("exit_at", None),
                        ("exit_price", None),
                        ("gross_pnl", None),
                        ("net_pnl", None),
                        ("net_pnl_usd", None),
                    ),
                    _connector="OR",
                ),
                name="trade_written_off_has_no_result",
            ),
        ),
        migrations.AddIndex(
            model_name="operatoraction",
            index=models.Index(fields=["subject", "-id"], name="operator_action_subject"),
        ),
        migrations.AddConstraint(
            model_name="operatoraction",
            constraint=models.CheckConstraint(
                condition=models.Q(("verb__in", [execution.models.operator_action.Verb["WRITE_OFF"]])),
                name="operator_action_verb_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="operatoraction",
            constraint=models.CheckConstraint(
                condition=models.Q(models.Q(("reason", ""), _negated=True), models.Q(("by", ""), _negated=True)),
                name="operator_action_has_a_reason",
            ),
        ),
    ]
