"""The journal against who has stolen a role: the service's cannot change it, and what the owner's does is found."""
# ruff: noqa: S608 -- the attacks are SQL of this file's own

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from psycopg import errors

from execution.models import AuditEvent, Heartbeat, JournalHead, JournalSeal
from execution.queries import journal
from execution.queries.journal import Break, BreakKind, JournalWalk, parse_head
from execution.store.journal_chain import CONTENT, head
from execution.store.journal_seal import keep_sealed, remove_lines, seal_journal
from tests.security.aftermath import HeldPosition, trading_goes_on
from tests.support import builders
from tests.support.roles import with_rights
from tests.support.stack import CeleryStack
from tests.support.threads import at_once

LINES = 12
INSERT = (
    "INSERT INTO execution_auditevent (entity, entity_id, from_state, to_state, trigger, reason_code, reason,"
    " details, at) VALUES ('ess', '1', '', 'x', 'x', '', '', '{}', now()) RETURNING id"
)
OLD = timedelta(days=400)


def address() -> str:
    """Return the owner's address of the test's database."""
    at = connection.settings_dict
    return f"postgresql://{at['USER']}@{at['HOST']}:{at['PORT']}/{at['NAME']}"


@pytest.fixture
def service(transactional_db: None) -> Iterator["psycopg.Connection[Any]"]:  # noqa: ARG001 -- the database first
    """A connection of the service's role, as a thief would have it."""
    with psycopg.connect(with_rights(address()), autocommit=True) as stolen:
        yield stolen


@pytest.fixture
def lines(transactional_db: None) -> list[int]:  # noqa: ARG001 -- the database first
    """The ids of a sealed journal's lines."""
    ids = written(LINES)
    assert seal_journal() == LINES
    return ids


def written(number: int) -> list[int]:
    """Write lines of a year ago and return their ids."""
    at = timezone.now() - OLD
    return [
        builders.transition("ess", place, reason=f"line {place}", details={"price": f"{place}.50"}, at=at).pk
        for place in range(number)
    ]


def found(witness: str = "") -> list[Break]:
    return list(JournalWalk(known_end=parse_head(witness) if witness else None).breaks())


def kinds(witness: str = "") -> list[BreakKind]:
    return [one.kind for one in found(witness)]


def as_owner(*statements: str) -> None:
    """Do what only an owner can: the log's trigger is off meanwhile."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def undone() -> Iterator[None]:
    """Roll back what is done inside."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# A stolen service role

ATTACKS = {
    "change": "UPDATE execution_auditevent SET reason = 'forged'",
    "change-times": "UPDATE execution_auditevent SET at = now()",
    "delete": "DELETE FROM execution_auditevent",
    "delete-by-the-road-of-retention": (
        "SET execution.retention_before = '2100-01-01'; DELETE FROM execution_auditevent"
    ),
    "truncate": "TRUNCATE execution_auditevent",
    "truncate-with-others": "TRUNCATE execution_order, execution_auditevent CASCADE",
    "line-with-an-own-id": (
        "INSERT INTO execution_auditevent (id, entity, entity_id, from_state, to_state, trigger, reason_code, reason,"
        " details, at) VALUES (1, 'ess', '1', '', 'x', 'x', '', '', '{}', now())"
    ),
    "upsert": (
        "INSERT INTO execution_auditevent (entity, entity_id, from_state, to_state, trigger, reason_code, reason,"
        " details, at) VALUES ('ess', '1', '', 'x', 'x', '', '', '{}', now())"
        " ON CONFLICT (id) DO UPDATE SET reason = 'forged'"
    ),
    "merge": (
        "MERGE INTO execution_auditevent t USING (SELECT 1) s ON true WHEN MATCHED THEN UPDATE SET reason = 'forged'"
    ),
    "disable-the-trigger": "ALTER TABLE execution_auditevent DISABLE TRIGGER ALL",
    "drop-the-trigger": "DROP TRIGGER execution_auditevent_append_only ON execution_auditevent",
    "replace-the-trigger": (
        "CREATE OR REPLACE FUNCTION execution_refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RETURN NULL; END'"
    ),
    "add-a-trigger": (
        "CREATE TRIGGER t BEFORE INSERT ON execution_auditevent FOR EACH ROW EXECUTE FUNCTION execution_refuse_change()"
    ),
    "add-a-rule": "CREATE RULE r AS ON INSERT TO execution_auditevent DO INSTEAD NOTHING",
    "triggers-off": "SET session_replication_role = replica",
    "add-a-column": "ALTER TABLE execution_auditevent ADD COLUMN x integer",
    "drop-the-journal": "DROP TABLE execution_auditevent",
    "rename-the-journal": "ALTER TABLE execution_auditevent RENAME TO gone",
    "create-beside-it": "CREATE TABLE public.execution_other (id integer)",
    "drop-the-chain": "DROP TABLE execution_journalseal",
    "delete-the-chain": "DELETE FROM execution_journalseal",
    "truncate-the-chain": "TRUNCATE execution_journalseal, execution_journalhead",
    "change-a-seal": "UPDATE execution_journalseal SET digest = ''",
    "forge-a-seal": "INSERT INTO execution_journalseal VALUES (99, 1, 99, '', '', NULL)",
    "move-the-head": "UPDATE execution_journalhead SET position = 0",
    "shorten-what-is-kept": "UPDATE execution_journalhead SET kept_days = 0",
    "drop-the-head": "DELETE FROM execution_journalhead",
    "replace-the-sealing": (
        "CREATE OR REPLACE FUNCTION execution_seal_journal(most integer) RETURNS integer LANGUAGE sql AS 'SELECT 0'"
    ),
    "drop-the-sealing": "DROP FUNCTION execution_seal_journal(integer)",
    "move-its-path": "ALTER FUNCTION execution_forget_journal(bigint[]) SET search_path = pg_temp",
    "spend-its-ids": "SELECT setval('execution_auditevent_id_seq', 9223372036854775807)",
    "take-its-ids": "SELECT nextval('execution_auditevent_id_seq')",
    "become-the-owner": "SET ROLE execution",
    "give-itself-rights": "ALTER ROLE execution_service SUPERUSER",
    "make-a-role": "CREATE ROLE other SUPERUSER",
    "lock-it": "DO 'BEGIN LOCK TABLE execution_auditevent IN ACCESS EXCLUSIVE MODE; END'",
    "lock-its-lines": "SELECT * FROM execution_auditevent FOR UPDATE",
    "run-a-program": "COPY execution_auditevent TO PROGRAM 'true'",
    "forget-the-migrations": "DELETE FROM django_migrations",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_stolen_service_role_cannot_change_the_journal(
    service: "psycopg.Connection[Any]", lines: list[int], attack: str
) -> None:
    before = list(AuditEvent.objects.order_by("pk").values())

    with pytest.raises(errors.InsufficientPrivilege):
        service.execute(ATTACKS[attack])

    assert list(AuditEvent.objects.order_by("pk").values()) == before
    assert (found(), len(before)) == ([], len(lines))
    # It should write on as ever.
    service.execute(
        "INSERT INTO execution_auditevent (entity, entity_id, from_state, to_state, trigger, reason_code, reason,"
        " details, at) VALUES ('ess', '1', '', 'x', 'x', '', '', '{}', now())"
    )


def test_the_road_of_retention_takes_nothing_that_is_young_or_its_own(
    service: "psycopg.Connection[Any]", lines: list[int]
) -> None:
    with_rights(address(), kept_days=365)
    young = builders.transition("ess", 1, at=timezone.now() - timedelta(days=364)).pk
    service.execute("SELECT execution_seal_journal(100)")
    late = written(1)[0]

    for ids in ([young], [lines[0], young], [late]):
        with pytest.raises(errors.RaiseException, match="the journal keeps"):
            service.execute("SELECT execution_forget_journal(%s)", [ids])
    assert service.execute("SELECT execution_forget_journal(%s)", [[lines[0]]]).fetchone() == (1,)
    told = AuditEvent.objects.get(entity="journal")
    service.execute("SELECT execution_seal_journal(100)")
    as_owner(f"UPDATE execution_auditevent SET at = at - interval '9 years' WHERE id = {told.pk}")
    with pytest.raises(errors.RaiseException, match="its own lines"):
        service.execute("SELECT execution_forget_journal(%s)", [[told.pk]])
    with_rights(address(), kept_days=None)
    with pytest.raises(errors.RaiseException, match="for ever"):
        service.execute("SELECT execution_forget_journal(%s)", [[lines[1]]])


def test_tables_of_its_own_do_not_mislead_what_runs_as_the_owner(
    service: "psycopg.Connection[Any]", lines: list[int]
) -> None:
    """Functions with the owner's rights look where the owner has said, also when the caller puts tables in front."""
    for table in ("execution_auditevent", "execution_journalhead", "execution_journalseal"):
        service.execute(f"CREATE TEMPORARY TABLE {table} (LIKE public.{table})")
    service.execute("SET search_path = pg_temp, public")
    written(1)

    assert service.execute("SELECT public.execution_seal_journal(100)").fetchone() == (1,)
    assert service.execute("SELECT public.execution_forget_journal(%s)", [[lines[0]]]).fetchone() == (1,)

    assert service.execute("SELECT count(*) FROM pg_temp.execution_journalseal").fetchone() == (0,)
    assert (JournalSeal.objects.count(), found()) == (LINES + 1, [])


@pytest.mark.e2e
@pytest.mark.django_db
def test_a_stolen_role_leaves_trading_and_a_whole_journal(stack: CeleryStack, held: HeldPosition) -> None:
    refused = 0
    with psycopg.connect(stack.service_url, autocommit=True) as stolen:
        for attack in ATTACKS.values():
            with pytest.raises(errors.InsufficientPrivilege):
                stolen.execute(attack)
            refused += 1
            stolen.execute("RESET ALL")

    trading_goes_on(stack, held)
    assert refused == len(ATTACKS)
    # The service's own processes have sealed what they wrote, and the service's role can verify it.
    assert "The journal is whole." in stack.manage("verify_journal")
    [(sealed,)] = stack.rows("SELECT count(*) FROM execution_journalseal")
    assert sealed > 10


# What an owner's hand does


def rehash(position: int) -> str:
    """Return the statement that gives a line's seal the digest of what the line says now, and the link to it."""
    return f"""
        UPDATE execution_journalseal s SET digest = d.digest, link = sha256(
            coalesce((SELECT link FROM execution_journalseal p WHERE p.position = s.position - 1),
                     sha256('execution journal')) || d.digest)
        FROM (SELECT id, sha256(convert_to({CONTENT}, 'UTF8')) AS digest FROM execution_auditevent) AS d
        WHERE d.id = s.line_id AND s.position = {position}
    """


CHANGE = "UPDATE execution_auditevent SET {what} WHERE id = {id}"


def change_of_the_sixth(what: str) -> Callable[[Sequence[int]], list[str]]:
    return lambda ids: [CHANGE.format(what=what, id=ids[5])]


TAMPERING: dict[str, tuple[Callable[[Sequence[int]], list[str]], list[tuple[BreakKind, int]]]] = {
    **{
        f"changed-{name}": (change_of_the_sixth(what), [(BreakKind.CHANGED, 5)])
        for name, what in {
            "text": "reason = 'it was never so'",
            "time": "at = at + interval '1 microsecond'",
            "number": "details = jsonb_set(details, '{price}', '\"5.51\"')",
            "digits": "details = jsonb_set(details, '{price}', '5.50')",
            "entity": "entity = 'policy'",
            "entity-id": "entity_id = '77'",
            "from-state": "from_state = 'ARMED'",
            "to-state": "to_state = 'ARMED'",
            "trigger": "trigger = 'nobody'",
            "reason-code": "reason_code = 'NONE'",
            # What moves from one column to the next must not look the same.
            "columns": "reason_code = reason, reason = ''",
        }.items()
    },
    "changed-first": (lambda ids: [CHANGE.format(what="reason = 'x'", id=ids[0])], [(BreakKind.CHANGED, 0)]),
    "changed-last": (lambda ids: [CHANGE.format(what="reason = 'x'", id=ids[-1])], [(BreakKind.CHANGED, -1)]),
    "removed-in-the-middle": (
        lambda ids: [f"DELETE FROM execution_auditevent WHERE id = {ids[5]}"],
        [(BreakKind.REMOVED, 5)],
    ),
    "removed-first": (
        lambda ids: [f"DELETE FROM execution_auditevent WHERE id = {ids[0]}"],
        [(BreakKind.REMOVED, 0)],
    ),
    "removed-last": (
        lambda ids: [f"DELETE FROM execution_auditevent WHERE id = {ids[-1]}"],
        [(BreakKind.REMOVED, -1)],
    ),
    "two-swapped": (
        lambda ids: [
            (
                "UPDATE execution_auditevent a SET reason = b.reason, entity_id = b.entity_id, details = b.details"
                f" FROM execution_auditevent b WHERE (a.id, b.id) IN (({ids[3]}, {ids[8]}), ({ids[8]}, {ids[3]}))"
            )
        ],
        [(BreakKind.CHANGED, 3), (BreakKind.CHANGED, 8)],
    ),
    "ids-swapped": (
        lambda ids: [
            f"UPDATE execution_auditevent SET id = -1 WHERE id = {ids[3]}",
            f"UPDATE execution_auditevent SET id = {ids[3]} WHERE id = {ids[8]}",
            f"UPDATE execution_auditevent SET id = {ids[8]} WHERE id = -1",
        ],
        [(BreakKind.CHANGED, 3), (BreakKind.CHANGED, 8)],
    ),
    "changed-and-sealed-anew": (
        lambda ids: [CHANGE.format(what="reason = 'x'", id=ids[5]), rehash(6)],
        # Its link fits; the one after it does not.
        [(BreakKind.SEALED_ANEW, 6)],
    ),
    "last-changed-and-sealed-anew": (
        lambda ids: [CHANGE.format(what="reason = 'x'", id=ids[-1]), rehash(LINES)],
        [(BreakKind.SEALED_ANEW, -1)],
    ),
    "digest-alone-changed": (
        lambda ids: ["UPDATE execution_journalseal SET digest = sha256('x') WHERE position = 6"],  # noqa: ARG005
        [(BreakKind.SEALED_ANEW, 5), (BreakKind.CHANGED, 5)],
    ),
    "removed-with-its-seal": (
        lambda ids: [
            f"DELETE FROM execution_auditevent WHERE id = {ids[5]}",
            f"DELETE FROM execution_journalseal WHERE line_id = {ids[5]}",
        ],
        [(BreakKind.REMOVED, 6)],
    ),
    "first-removed-with-its-seal": (
        lambda ids: [
            f"DELETE FROM execution_auditevent WHERE id = {ids[0]}",
            f"DELETE FROM execution_journalseal WHERE line_id = {ids[0]}",
        ],
        [(BreakKind.REMOVED, 1)],
    ),
    "last-removed-with-its-seal": (
        lambda ids: [
            f"DELETE FROM execution_auditevent WHERE id = {ids[-1]}",
            f"DELETE FROM execution_journalseal WHERE line_id = {ids[-1]}",
        ],
        [(BreakKind.REMOVED, -2)],
    ),
    "removed-with-its-seal-and-the-others-moved-up": (
        lambda ids: [
            f"DELETE FROM execution_auditevent WHERE id = {ids[5]}",
            f"DELETE FROM execution_journalseal WHERE line_id = {ids[5]}",
            "UPDATE execution_journalseal SET position = -position WHERE position > 6",
            "UPDATE execution_journalseal SET position = -position - 1 WHERE position < 0",
            "UPDATE execution_journalhead SET position = position - 1",
        ],
        [(BreakKind.SEALED_ANEW, 6)],
    ),
    "removed-as-if-by-retention": (
        lambda ids: [
            f"DELETE FROM execution_auditevent WHERE id = {ids[5]}",
            f"UPDATE execution_journalseal SET removed_by = {ids[8]} WHERE line_id = {ids[5]}",
        ],
        [(BreakKind.REMOVED, 5)],
    ),
}


@pytest.mark.parametrize("tampering", TAMPERING)
def test_what_an_owner_does_to_the_journal_is_found(lines: list[int], tampering: str) -> None:
    assert found() == []
    statements, expected = TAMPERING[tampering]

    as_owner(*statements(lines))

    said = found()
    assert [one.kind for one in said] == [kind for kind, _ in expected]
    # It should name the line.
    unnamed = [one.sentence for one, (_, at) in zip(said, expected, strict=True) if str(lines[at]) not in one.sentence]
    assert (unnamed, len(said)) == ([], len(expected))
    with pytest.raises(CommandError, match=f"{len(said)} breaks") as ended:
        call_command("verify_journal", stdout=io.StringIO())
    assert ended.value.returncode == 1
    # It should stay so: what is written and sealed later covers nothing up.
    written(3)
    seal_journal()
    assert kinds() == [kind for kind, _ in expected] or tampering == "last-changed-and-sealed-anew"
    assert kinds() != []


@pytest.mark.parametrize("place", ["before-all", "between", "as-the-newest"])
def test_an_inserted_line_is_found(transactional_db: None, place: str) -> None:  # noqa: ARG001 -- the database first
    ids = written(3)
    with undone():
        # A rolled-back writer leaves a gap in the ids.
        [gap] = written(1)
    ids += written(2)
    with undone():
        [last_gap] = written(1)
    seal_journal()
    own = {"before-all": 0, "between": gap, "as-the-newest": last_gap}[place]
    assert own == 0 or ids[0] < own <= ids[-1] + 1

    builders.transition("ess", "forged", id=own)

    for _ in range(2):
        [one] = found()
        assert (one.kind, f"line {own} " in one.sentence) == (BreakKind.INSERTED, True)
        # It should find no seal later either.
        seal_journal()


def test_a_line_that_retention_has_removed_does_not_come_back(lines: list[int]) -> None:
    remove_lines(lines[:3])
    assert found() == []

    builders.transition("ess", "forged", id=lines[1])

    assert kinds() == [BreakKind.INSERTED]


@pytest.mark.parametrize("kept", ["everything-sealed-anew", "the-chain-dropped", "the-end-cut-off"])
def test_a_chain_that_was_made_anew_is_found_by_its_old_head(lines: list[int], kept: str) -> None:
    """Who owns the database can make a chain that fits itself; not one that fits what was told before."""
    witness = str(head())
    change = CHANGE.format(what="reason = 'x'", id=lines[5])
    if kept == "everything-sealed-anew":
        as_owner(change, *(rehash(position) for position in range(6, LINES + 1)))
        as_owner(
            f"UPDATE execution_journalhead SET link = (SELECT link FROM execution_journalseal WHERE position = {LINES})"
        )
    elif kept == "the-chain-dropped":
        as_owner(change, "TRUNCATE execution_journalseal, execution_journalhead")
        seal_journal()
    else:
        as_owner(
            f"DELETE FROM execution_auditevent WHERE id > {lines[5]}",
            "DELETE FROM execution_journalseal WHERE position > 6",
            "UPDATE execution_journalhead SET position = 6, line_id = s.line_id, link = s.link"
            " FROM execution_journalseal s WHERE s.position = 6",
        )

    assert found() == []
    assert len(found(witness)) == 1
    with pytest.raises(CommandError):
        call_command("verify_journal", head=witness, stdout=io.StringIO())


def test_a_head_that_is_gone_is_no_new_beginning(lines: list[int]) -> None:  # noqa: ARG001 -- something is sealed
    as_owner("DELETE FROM execution_journalhead")

    assert kinds() == [BreakKind.REMOVED]
    with pytest.raises(Exception, match="the head of the journal's chain is missing"):
        seal_journal()


# Lawful work beside it


def test_what_retention_has_removed_leaves_anchors(lines: list[int]) -> None:
    more = written(100)
    seal_journal()
    witness = str(head())

    # In pieces, so that later runs take up what earlier ones have left.
    for ids in (lines[2:4], lines[6:9], more[:10], more[20:70], more[10:20]):
        assert remove_lines(ids) == len(ids)
        assert (found(), found(witness)) == ([], [])
    seal_journal()

    walk = JournalWalk()
    assert list(walk.breaks()) == []
    assert walk.stats.removed_by_retention == 75
    # It should keep one seal for many lines that are gone side by side.
    assert JournalSeal.objects.count() < LINES + 100 + 5 - 60
    # It should find what is done to an anchor.
    anchor = JournalSeal.objects.filter(spans__gt=1).get()
    for statement in (
        f"UPDATE execution_journalseal SET link = sha256('x') WHERE position = {anchor.pk}",
        f"UPDATE execution_journalseal SET spans = spans - 1 WHERE position = {anchor.pk}",
        f"DELETE FROM execution_journalseal WHERE position = {anchor.pk}",
    ):
        with undone():
            as_owner(statement)
            assert found() != []
    assert found() == []


def test_a_false_anchor_is_found(lines: list[int]) -> None:
    """Lines and seals go, and the last seal is made to stand for them all."""
    remove_lines(lines[:1])
    seal_journal()
    told = AuditEvent.objects.get(entity="journal").pk

    as_owner(
        f"DELETE FROM execution_auditevent WHERE id BETWEEN {lines[3]} AND {lines[7]}",
        "DELETE FROM execution_journalseal WHERE position BETWEEN 4 AND 7",
        f"UPDATE execution_journalseal SET spans = 5, removed_by = {told} WHERE position = 8",
    )

    assert kinds() == [BreakKind.REMOVED]


def test_pages_are_bounded(lines: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PAGE", 5)
    assert found() == []
    as_owner(CHANGE.format(what="reason = 'x'", id=lines[4]), CHANGE.format(what="reason = 'x'", id=lines[5]))

    assert kinds() == [BreakKind.CHANGED] * 2


# Writers at once


def test_a_line_that_is_committed_late_is_sealed_in_its_place(
    service: "psycopg.Connection[Any]",
) -> None:
    """Two writers: the one with the older id commits last. Nothing is sealed past it, and nobody waits for nobody."""
    with psycopg.connect(address()) as slow:
        [first] = slow.execute(INSERT).fetchall()
        [second] = service.execute(INSERT).fetchall()
        assert [seal_journal() for _ in range(3)] == [0, 0, 0]
        # It should not be found broken meanwhile.
        assert found() == []
        slow.commit()
    assert seal_journal() == 2

    assert list(JournalSeal.objects.order_by("position").values_list("line_id", flat=True)) == [first[0], second[0]]
    assert found() == []


def test_sealing_keeps_no_writer_waiting_and_one_seals_at_a_time(service: "psycopg.Connection[Any]") -> None:
    # The head is there from here on.
    seal_journal()
    written(5)
    with psycopg.connect(address()) as sealing:
        assert sealing.execute("SELECT execution_seal_journal(100)").fetchone() == (5,)
        # Its transaction is open still.
        service.execute("SET lock_timeout = '2s'")
        service.execute(
            "INSERT INTO execution_auditevent (entity, entity_id, from_state, to_state, trigger, reason_code, reason,"
            " details, at) VALUES ('ess', '1', '', 'x', 'x', '', '', '{}', now())"
        )
        assert service.execute("SELECT execution_seal_journal(100)").fetchone() == (0,)
    assert seal_journal() == 1
    assert (JournalHead.objects.get().position, found()) == (6, [])


def test_a_writer_that_does_not_end_is_an_alarm_and_its_end_releases_it(service: "psycopg.Connection[Any]") -> None:
    with psycopg.connect(address()) as slow:
        slow.execute(INSERT)
        service.execute(INSERT)
        now = timezone.now()
        keep_sealed(now + timedelta(minutes=4))
        assert Heartbeat.objects.get(part="journal").healthy
        keep_sealed(now + timedelta(minutes=6))
        assert not Heartbeat.objects.get(part="journal").healthy
        slow.commit()
    keep_sealed(now + timedelta(minutes=6))

    beat = Heartbeat.objects.get(part="journal")
    assert (beat.healthy, beat.details) == (True, {"sealed": 2, "oldest_unsealed_seconds": 0})


def test_many_writers_and_sealers_make_one_chain(service: "psycopg.Connection[Any]") -> None:  # noqa: ARG001 -- roles
    def write() -> None:
        for place in range(40):
            with transaction.atomic():
                written(place % 3 + 1)

    def seal() -> None:
        for _ in range(40):
            seal_journal()

    at_once([write, seal, write, seal, write])
    for _ in range(2):
        seal_journal()

    assert found() == []
    ids = list(AuditEvent.objects.order_by("pk").values_list("pk", flat=True))
    assert list(JournalSeal.objects.order_by("pk").values_list("pk", "line_id")) == list(enumerate(ids, start=1))
