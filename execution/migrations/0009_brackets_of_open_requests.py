"""Give every approved request that is not over the plan that it was approved with, and its legs' orders their leg."""

from decimal import Decimal

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# The symbol's grid was not stored. One target for everything needs no rounding, so the finest grid does.
GRID = Decimal("0.000000000001")


def write_brackets(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    """One stop and one target a request, as they were."""
    model = apps.get_model
    requests = model("execution", "ExecutionRequest").objects.filter(stop_price__gt=0, target_price__gt=0)
    for request in requests.filter(bracket__isnull=True).iterator():
        bracket = model("execution", "Bracket").objects.create(
            request=request, tick_size=GRID, quantity_step=GRID, minimum_quantity=GRID, minimum_notional=0
        )
        for purpose, price in (("STOP", request.stop_price), ("TARGET", request.target_price)):
            leg = model("execution", "BracketLeg").objects.create(bracket=bracket, purpose=purpose, price=price)
            model("execution", "Order").objects.filter(request=request, purpose=purpose).update(leg=leg)


class Migration(migrations.Migration):
    dependencies = [("execution", "0008_brackets")]

    operations = [migrations.RunPython(write_brackets, migrations.RunPython.noop)]
