"""Values the fees of fills that were booked before fees had a value, and calls old books looked over."""

from django.db import migrations

VALUE_FEES = """
    UPDATE execution_fill SET fee_value = commission
    WHERE fee_value IS NULL AND (commission = 0 OR symbol LIKE '%' || commission_asset)
"""
LOOKED_OVER = "UPDATE execution_trade SET checked_at = updated_at WHERE state = 'CLOSED' AND checked_at IS NULL"


class Migration(migrations.Migration):
    dependencies = [("execution", "0015_books")]
    operations = [
        migrations.RunSQL(VALUE_FEES, migrations.RunSQL.noop),
        migrations.RunSQL(LOOKED_OVER, migrations.RunSQL.noop),
    ]
