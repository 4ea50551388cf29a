"""What an announcement alone has loosened goes back to its default: nobody but the sender has ever said it."""

from typing import Any

from django.db import migrations
from django.db.models import Max

from execution.domain.policy import KEYS, loosens


def take_back(apps: Any, schema_editor: Any) -> None:  # noqa: ARG001 -- Django's signature
    policy_values = apps.get_model("execution", "PolicyValue")
    for row in policy_values.objects.filter(source="event", key__in=KEYS):
        default = KEYS[row.key].default
        if loosens(row.key, default, row.value):
            row.value = default
            # A newer version: entries approved under the looser value are judged again.
            row.version = policy_values.objects.aggregate(newest=Max("version"))["newest"] + 1
            row.save(update_fields=["value", "version"])


class Migration(migrations.Migration):
    dependencies = [("execution", "0027_quarantine")]
    operations = [migrations.RunPython(take_back, migrations.RunPython.noop)]
