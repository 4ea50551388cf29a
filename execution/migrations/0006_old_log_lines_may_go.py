"""Let retention delete old lines of the append-only log: only in a transaction that names an age, and none under a day."""

from django.db import migrations

FORWARD = """
CREATE OR REPLACE FUNCTION execution_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE'
       AND OLD.at < NULLIF(current_setting('execution.retention_before', true), '')::timestamptz
       AND OLD.at < now() - interval '1 day' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'execution_transition is append-only: % refused', TG_OP;
END $$;
"""
BACKWARD = """
CREATE OR REPLACE FUNCTION execution_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'execution_transition is append-only: % refused', TG_OP;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("execution", "0005_entry_gate")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
