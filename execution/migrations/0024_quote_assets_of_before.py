from django.db import migrations

# Before quote assets were read, every amount was taken for US dollars: right for contracts in an asset that is pegged to
# the dollar. What stands in another asset has no price from then; the monitor prices what is still open.
PEGGED = ("USDT", "USDC", "FDUSD", "USD1")
# A dated contract's name ends with its date.
NAME = r"regexp_replace(symbol, '_[0-9]+$', '')"
ASSET = (
    "CASE " + " ".join(f"WHEN {NAME} LIKE '%{asset}' THEN '{asset}'" for asset in (*PEGGED, "BTC")) + " ELSE '' END"
)
PRICE = "CASE WHEN quote_asset IN ({}) THEN 1 END".format(", ".join(f"'{asset}'" for asset in PEGGED))
TABLES = ("execution_executionrequest", "execution_trade", "execution_position")


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0024_quote_assets"),
    ]

    operations = [
        *(
            migrations.RunSQL(sql, reverse_sql="")
            for table in TABLES
            for sql in (f"UPDATE {table} SET quote_asset = {ASSET}", f"UPDATE {table} SET quote_index = {PRICE}")
        ),
        migrations.RunSQL(
            "UPDATE execution_trade SET margin = margin_usd, margin_usd = margin_usd * quote_index,"
            " net_pnl_usd = net_pnl * quote_index",
            reverse_sql="UPDATE execution_trade SET margin_usd = margin",
        ),
    ]
