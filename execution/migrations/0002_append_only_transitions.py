"""Make the transition log append-only: the database refuses to change or delete a row of it."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION execution_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'execution_transition is append-only: % refused', TG_OP;
END $$;
CREATE TRIGGER execution_transition_append_only BEFORE UPDATE OR DELETE ON execution_transition
    FOR EACH ROW EXECUTE FUNCTION execution_refuse_change();
"""
BACKWARD = """
DROP TRIGGER execution_transition_append_only ON execution_transition;
DROP FUNCTION execution_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("execution", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
