"""What the numbers of a stream say about entries that nobody has read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.stream_offsets import (
    STREAM_LENGTH,
    StreamFacts,
    StreamGap,
    StreamPlace,
    continues,
    jumped_over,
    order_of,
    trimmed_unread,
)


def facts(*, added: int, kept: int, read: int | None) -> StreamFacts:
    """A stream of entries 1-0, 2-0 ..., of which the newest are kept and the oldest were read."""
    first = f"{added - kept + 1}-0" if kept else None
    return StreamFacts(
        first_id=first,
        last_id=f"{added}-0",
        entries_added=added,
        length=kept,
        delivered_to=f"{read or 0}-0",
        entries_read=read,
    )


def test_the_bus_keeps_ten_thousand_entries_and_a_group_begins_at_the_beginning() -> None:
    assert STREAM_LENGTH == 10_000
    new = StreamFacts(first_id="1-0", last_id="1-0", entries_added=1, length=1)
    assert (new.delivered_to, new.entries_read, new.pending) == ("0-0", 0, 0)


def test_ids_compare_as_numbers() -> None:
    assert order_of("9-0") < order_of("10-0") < order_of("10-1") < order_of("10-10")
    assert order_of("7") == (7, 0)


@given(added=st.integers(0, 50), kept=st.integers(0, 50), read=st.integers(0, 50))
def test_what_is_gone_unread_is_counted_to_the_last_entry(added: int, kept: int, read: int) -> None:
    kept, read = min(kept, added), min(read, added)
    gone = max(0, added - kept - read)

    found = trimmed_unread("x", facts(added=added, kept=kept, read=read))

    assert (found is not None) == (gone > 0)
    if found:
        before = f"{added - kept + 1}-0" if kept else ""
        assert found == StreamGap(event_type="x", after=f"{read}-0", before=before, entries=gone)


def test_an_unknown_count_is_no_loss() -> None:
    assert trimmed_unread("x", facts(added=9, kept=1, read=None)) is None
    assert jumped_over("x", facts(added=9, kept=9, read=None), facts(added=9, kept=9, read=9), delivered=0) is None


@pytest.mark.parametrize(
    ("first", "delivered", "last", "gone"),
    [
        # Redis counts fewer as read than were delivered: all that is left was delivered, or some of it, or none.
        (None, "9-0", "9-0", None),
        (None, "8-0", "9-0", 4),
        ("3-0", "5-0", "9-0", None),
        ("5-0", "5-0", "9-0", None),
        ("6-0", "5-0", "9-0", 4),
        ("6-0", "9-0", "9-0", None),
    ],
)
def test_nothing_is_gone_while_what_is_left_reaches_to_what_was_read(
    first: str | None, delivered: str, last: str, gone: int | None
) -> None:
    odd = StreamFacts(first_id=first, last_id=last, entries_added=9, length=3, delivered_to=delivered, entries_read=2)

    found = trimmed_unread("x", odd)
    assert found == (StreamGap(event_type="x", after=delivered, before=first or "", entries=gone) if gone else None)


def test_of_a_stream_that_was_lost_nobody_knows_how_much_and_up_to_where() -> None:
    assert StreamGap(event_type="x", after="1-0") == StreamGap(event_type="x", after="1-0", before="", entries=None)


@pytest.mark.parametrize(("read", "gone"), [(5, None), (6, 1), (7, 2), (None, None)])
def test_one_entry_is_enough_to_be_missed(read: int | None, gone: int | None) -> None:
    """Three were read and two delivered."""
    before, now = facts(added=9, kept=9, read=3), facts(added=9, kept=9, read=read)

    found = jumped_over("x", before, now, delivered=2)
    assert found == (StreamGap(event_type="x", after="3-0", before=f"{read}-0", entries=gone) if gone else None)
    assert trimmed_unread("x", facts(added=9, kept=6, read=2)) == StreamGap(
        event_type="x", after="2-0", before="4-0", entries=1
    )
    assert trimmed_unread("x", facts(added=9, kept=7, read=2)) is None


@given(read=st.integers(0, 50), delivered=st.integers(0, 50), gone=st.integers(0, 50))
def test_what_vanishes_while_we_read_is_what_redis_counts_and_we_were_not_given(
    read: int, delivered: int, gone: int
) -> None:
    before = facts(added=200, kept=200, read=read)
    now = facts(added=200, kept=200 - gone, read=read + delivered + gone)

    found = jumped_over("x", before, now, delivered=delivered)

    gap = StreamGap(event_type="x", after=f"{read}-0", before=f"{read + delivered + gone}-0", entries=gone)
    assert found == (gap if gone else None)


@pytest.mark.parametrize(
    ("noted", "added", "kept", "there", "expected"),
    [
        pytest.param(("5-0", 5), 9, 9, True, True, id="the-same"),
        pytest.param(("9-0", 9), 9, 9, True, True, id="at-its-end"),
        pytest.param(("5-0", 5), 9, 2, False, True, id="trimmed-past-the-place"),
        pytest.param(("9-0", 9), 9, 0, False, True, id="trimmed-to-nothing"),
        pytest.param(("5-0", 5), 9, 9, False, False, id="another-with-lower-ids"),
        pytest.param(("20-0", 5), 9, 9, False, False, id="a-clock-set-back"),
        pytest.param(("20-0", 5), 9, 9, True, False, id="ends-before-the-place"),
        pytest.param(("20-0", 5), 9, 0, False, False, id="a-clock-set-back-and-trimmed-to-nothing"),
        pytest.param(("5-0", 5), 9, 5, True, True, id="begins-at-the-place"),
        pytest.param(("5-0", 4), 9, 5, False, False, id="begins-at-the-place-with-another-entry"),
        pytest.param(("5-0", 4), 9, 4, False, True, id="trimmed-up-to-the-place"),
        pytest.param(("3-0", 8), 9, 2, False, False, id="had-fewer-entries"),
    ],
)
def test_a_stream_that_began_anew_is_told_from_the_old_one(
    noted: tuple[str, int], added: int, kept: int, *, there: bool, expected: bool
) -> None:
    place = StreamPlace(entry_id=noted[0], entries_read=noted[1])

    assert continues(place, facts(added=added, kept=kept, read=0), entry_is_there=there) is expected


def test_a_stream_whose_entries_are_all_newer_must_have_had_those_that_were_read() -> None:
    """Three entries in a stream of three, all behind a place before which five were read: another stream."""
    younger = StreamFacts(first_id="700-0", last_id="900-0", entries_added=3, length=3)

    assert not continues(StreamPlace(entry_id="500-0", entries_read=5), younger, entry_is_there=False)
    assert not continues(StreamPlace(entry_id="500-0", entries_read=1), younger, entry_is_there=False)
