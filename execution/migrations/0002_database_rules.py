"""What the database itself holds: an append-only journal, its seal, and numbers that are numbers.

Who writes the journal needs INSERT on it and no more. Sealing is no part of that write: `execution_seal_journal` comes
behind it and takes lines in the order of their ids, up to an id below which no running transaction can add one. Both
functions run with the owner's rights.
"""

from typing import Any

from django.db import migrations

APPEND_ONLY = """
-- Only in a transaction that names an age, and none under a day: see execution_forget_journal.
CREATE FUNCTION execution_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE'
       AND OLD.at < NULLIF(current_setting('execution.retention_before', true), '')::timestamptz
       AND OLD.at < now() - interval '1 day' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'execution_auditevent is append-only: % refused', TG_OP;
END $$;
CREATE TRIGGER execution_auditevent_append_only BEFORE UPDATE OR DELETE ON execution_auditevent
    FOR EACH ROW EXECUTE FUNCTION execution_refuse_change();
"""
JOURNAL = """
-- Seals at most that many lines and returns how many it did.
CREATE FUNCTION execution_seal_journal(most integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    head execution_journalhead;
    line record;
    issued bigint;
    writers text;
    sealed integer := 0;
BEGIN
    -- With a snapshot that does not move, a line that has come in time would be passed over.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the journal is sealed in READ COMMITTED only';
    END IF;
    INSERT INTO execution_journalhead (id, position, line_id, link, final_id, pending_id, pending_writers, kept_days)
        SELECT 1, 0, 0, sha256('execution journal'), 0, 0, '', 1
        WHERE NOT EXISTS (SELECT FROM execution_journalhead) AND NOT EXISTS (SELECT FROM execution_journalseal)
        ON CONFLICT DO NOTHING;
    SELECT * INTO head FROM execution_journalhead WHERE id = 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM execution_journalhead) THEN
            RAISE EXCEPTION 'the head of the journal''s chain is missing';
        END IF;
        RETURN 0;  -- Somebody else seals.
    END IF;
    -- A writer holds the table's lock before it takes an id, and until it ends. So once those that held the lock after
    -- the id was read have ended, no line with this id or an older one is still to come.
    IF NOT EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'relation' AND relation = 'execution_auditevent'::regclass
        AND virtualtransaction = ANY (string_to_array(head.pending_writers, ','))
    ) THEN
        head.final_id := greatest(head.final_id, head.pending_id);
        SELECT CASE WHEN is_called THEN last_value ELSE 0 END INTO issued FROM {sequence};
        SELECT coalesce(string_agg(DISTINCT virtualtransaction, ','), '') INTO writers FROM pg_locks
            WHERE locktype = 'relation' AND relation = 'execution_auditevent'::regclass
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid();
        head.pending_id := issued;
        head.pending_writers := writers;
        IF writers = '' THEN
            head.final_id := greatest(head.final_id, issued);
        END IF;
    END IF;
    FOR line IN
        SELECT id, sha256(convert_to(jsonb_build_array(
            id, entity, entity_id, from_state, to_state, trigger, reason_code, reason, details,
            extract(epoch FROM at)::text)::text, 'UTF8')) AS digest
        FROM execution_auditevent WHERE id > head.line_id AND id <= head.final_id ORDER BY id LIMIT most
    LOOP
        head.position := head.position + 1;
        head.line_id := line.id;
        head.link := sha256(head.link || line.digest);
        INSERT INTO execution_journalseal (position, spans, line_id, digest, link)
            VALUES (head.position, 1, line.id, line.digest, head.link);
        sealed := sealed + 1;
    END LOOP;
    IF sealed < most THEN
        head.line_id := greatest(head.line_id, head.final_id);
    END IF;
    UPDATE execution_journalhead SET position = head.position, line_id = head.line_id, link = head.link,
        final_id = head.final_id, pending_id = head.pending_id, pending_writers = head.pending_writers
        WHERE id = 1 AND (line_id, final_id, pending_id, pending_writers)
            IS DISTINCT FROM (head.line_id, head.final_id, head.pending_id, head.pending_writers);
    RETURN sealed;
END $$;

-- Removes sealed lines of the age that the owner has set, and says in the journal which. A seal stays without its line;
-- of many side by side only the last stays, and stands for them all.
CREATE FUNCTION execution_forget_journal(lines bigint[]) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    head execution_journalhead;
    before timestamptz;
    gone bigint[];
    told bigint;
    ranges jsonb;
    run record;
    runs jsonb := '[]';
BEGIN
    SELECT * INTO head FROM execution_journalhead WHERE id = 1 FOR UPDATE;
    IF head.kept_days IS NULL THEN
        RAISE EXCEPTION 'the journal is kept for ever';
    END IF;
    before := now() - make_interval(days => head.kept_days);
    IF EXISTS (SELECT FROM execution_auditevent WHERE id = ANY (lines)
               AND (at >= before OR id > head.line_id OR entity = 'journal')) THEN
        RAISE EXCEPTION 'the journal keeps what is younger than % days, what has no seal, and its own lines',
            head.kept_days;
    END IF;
    PERFORM set_config('execution.retention_before', before::text, true);
    WITH removed AS (DELETE FROM execution_auditevent WHERE id = ANY (lines) RETURNING id)
        SELECT array_agg(id) INTO gone FROM removed;
    PERFORM set_config('execution.retention_before', '', true);
    IF gone IS NULL THEN
        RETURN 0;
    END IF;
    told := nextval('{sequence}');
    UPDATE execution_journalseal SET removed_by = told WHERE line_id = ANY (gone);
    SELECT jsonb_agg(jsonb_build_array(first, last) ORDER BY first) INTO ranges FROM (
        SELECT min(position) AS first, max(position) AS last FROM (
            SELECT position, position - row_number() OVER (ORDER BY position) AS island
            FROM execution_journalseal WHERE line_id = ANY (gone)) AS one GROUP BY island) AS many;
    FOR run IN
        SELECT min(position - spans) + 1 AS first, max(position) AS last FROM (
            SELECT position, spans, position - sum(spans) OVER (ORDER BY position) AS island
            FROM execution_journalseal WHERE removed_by IS NOT NULL
            AND position >= (ranges -> 0 ->> 0)::bigint - 1000 AND position <= (ranges -> -1 ->> 1)::bigint + 1000
        ) AS one GROUP BY island HAVING count(*) >= 16 ORDER BY 1 LIMIT 500
    LOOP
        DELETE FROM execution_journalseal WHERE position >= run.first AND position < run.last;
        UPDATE execution_journalseal SET spans = run.last - run.first + 1, removed_by = told WHERE position = run.last;
        runs := runs || (SELECT jsonb_build_array(jsonb_build_array(run.first, run.last, encode(link, 'hex')))
                         FROM execution_journalseal WHERE position = run.last);
    END LOOP;
    INSERT INTO execution_auditevent
        (id, entity, entity_id, from_state, to_state, trigger, reason_code, reason, details, at)
        VALUES (told, 'journal', 'retention', '', 'REMOVED', 'retention', '', '', jsonb_build_object(
            'lines', cardinality(gone), 'positions', ranges, 'runs', runs), clock_timestamp());
    RETURN cardinality(gone);
END $$;

REVOKE ALL ON FUNCTION execution_seal_journal(integer), execution_forget_journal(bigint[]) FROM PUBLIC;
"""
# What runs with the owner's rights must not look for its tables where another role may put some.
FIXED_PATH = "ALTER FUNCTION {function} SET search_path = {schema}, pg_temp"
FUNCTIONS = ("execution_seal_journal(integer)", "execution_forget_journal(bigint[])")
FIRST_HEAD = """
INSERT INTO execution_journalhead (id, position, line_id, link, final_id, pending_id, pending_writers, kept_days)
    VALUES (1, 0, 0, sha256('execution journal'), 0, 0, '', 1)
"""
# NaN is a number to PostgreSQL, and nothing that calculates survives it.
NUMERIC_COLUMNS = """
    SELECT table_name, string_agg(format('%I <> %L', column_name, 'NaN'), ' AND ' ORDER BY ordinal_position)
    FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name LIKE 'execution\\_%' AND data_type = 'numeric'
    GROUP BY table_name
"""


def keep_journal(_apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(current_schema()), pg_get_serial_sequence('execution_auditevent', 'id')")
        schema, sequence = cursor.fetchone()
        cursor.execute(APPEND_ONLY)
        cursor.execute(JOURNAL.replace("{sequence}", sequence))
        # The chain begins with the first line that is sealed.
        cursor.execute(FIRST_HEAD)
        for function in FUNCTIONS:
            cursor.execute(FIXED_PATH.format(function=function, schema=schema))


def refuse_nan(_apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(NUMERIC_COLUMNS)
        for table, condition in cursor.fetchall():
            cursor.execute(f'ALTER TABLE "{table}" ADD CONSTRAINT {table}_numbers CHECK ({condition})')


class Migration(migrations.Migration):
    dependencies = [("execution", "0001_initial")]
    operations = [migrations.RunPython(keep_journal), migrations.RunPython(refuse_nan)]
