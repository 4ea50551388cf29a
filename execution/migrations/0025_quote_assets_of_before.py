"""Names the quote asset of older rows, and keeps their figures as they were told: in dollars where that is true."""

from typing import Any

from django.db import migrations
from django.db.models import F, Q

# Before quote assets were read, every amount was taken for US dollars: right for contracts in an asset pegged to the
# dollar. What stands in another asset has no price from then; the monitor prices what is still open.
PEGGED = ("USDT", "USDC", "FDUSD", "USD1")
MODELS = ("ExecutionRequest", "Trade", "Position")


def name_assets(apps: Any, _: object) -> None:
    for name in MODELS:
        rows = apps.get_model("execution", name).objects
        for asset in (*PEGGED, "BTC"):
            # A dated contract's name ends with its date.
            named = Q(symbol__endswith=asset) | Q(symbol__contains=f"{asset}_")
            rows.filter(named).update(quote_asset=asset, quote_index=1 if asset in PEGGED else None)
    trades = apps.get_model("execution", "Trade").objects
    trades.update(margin=F("margin_usd"))
    trades.filter(quote_index=None).update(margin_usd=None)
    trades.exclude(quote_index=None).update(net_pnl_usd=F("net_pnl"))


def margin_back(apps: Any, _: object) -> None:
    apps.get_model("execution", "Trade").objects.update(margin_usd=F("margin"))


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0024_quote_assets"),
    ]

    operations = [migrations.RunPython(name_assets, margin_back)]
