"""What an order of some size pays, on any book."""

from decimal import Decimal
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.depth import Level, Walk, levels_within, quantity_on, quantity_worth, walk
from execution.domain.trading import Direction, Quote
from tests.unit.examples import levels

prices = st.decimals(min_value="0.0001", max_value=100_000, places=4)
quantities = st.decimals(min_value="0.001", max_value=1000, places=3)
sizes = st.decimals(min_value="0.001", max_value=10_000, places=3)
directions = st.sampled_from(Direction)


@st.composite
def books(draw: st.DrawFn, direction: Direction) -> tuple[Level, ...]:
    """One side of a book, best level first: asks rise, bids fall."""
    steps = draw(st.lists(st.tuples(prices, quantities), min_size=1, max_size=12, unique_by=lambda row: row[0]))
    rows = sorted(steps, reverse=direction is Direction.SHORT)
    return tuple(Level(price=price, quantity=quantity) for price, quantity in rows)


@pytest.mark.parametrize(
    ("quantity", "used", "covered", "average"),
    [
        ("0.5", 1, "0.5", "100"),
        # A level that is taken to the last is still one level
        ("1", 1, "1", "100"),
        ("1.001", 2, "1.001", "100.0009990009990009990009990"),
        ("4", 2, "4", "100.75"),
        ("5", 3, "5", "101"),
        # More than there is: what there is, and what that costs
        ("9", 3, "6", "101.1666666666666666666666667"),
        ("0", 1, "0", "100"),
    ],
)
def test_a_size_pays_the_levels_that_it_reaches(quantity: str, used: int, covered: str, average: str) -> None:
    reached = walk(levels("100x1", "101x3", "102x2"), Decimal(quantity))

    assert (reached.levels, reached.covered, reached.average_price) == (used, Decimal(covered), Decimal(average))


def test_an_empty_book_covers_nothing() -> None:
    reached = walk((), Decimal(1))

    assert reached == Walk(levels=0, covered=Decimal(0), average_price=Decimal(0))


@given(st.data(), directions, sizes, sizes)
def test_a_larger_size_never_pays_better(data: st.DataObject, direction: Direction, one: Decimal, two: Decimal) -> None:
    book, (small, large) = data.draw(books(direction)), sorted((one, two))

    less, more = walk(book, small), walk(book, large)

    assert less.average_price * direction.sign <= more.average_price * direction.sign
    assert less.levels <= more.levels
    assert less.covered <= more.covered


@given(st.data(), directions)
def test_a_size_within_the_first_level_pays_its_price_exactly(data: st.DataObject, direction: Direction) -> None:
    book = data.draw(books(direction))
    tiny = data.draw(st.decimals(min_value="0.001", max_value=book[0].quantity, places=3))

    assert walk(book, tiny).average_price == book[0].price


@given(st.data(), directions, sizes)
def test_the_average_lies_between_the_best_and_the_last_level_that_is_reached(
    data: st.DataObject, direction: Direction, size: Decimal
) -> None:
    book = data.draw(books(direction))

    reached = walk(book, size)

    last = book[reached.levels - 1].price
    assert min(book[0].price, last) <= reached.average_price <= max(book[0].price, last)
    # It should cover the size, or all that there is
    assert reached.covered == min(size, quantity_on(book))
    # It should reach no level that the size does not need
    before = [Decimal(0), *accumulate(level.quantity for level in book)]
    assert before[reached.levels - 1] < size


@given(st.data(), sizes)
def test_a_long_takes_asks_and_a_short_takes_bids(data: st.DataObject, size: Decimal) -> None:
    asks, bids = data.draw(books(Direction.LONG)), data.draw(books(Direction.SHORT))
    quote = Quote(symbol="BTCUSDT", bids=bids, asks=asks, mark=Decimal(1))

    assert walk(quote.taken_levels(Direction.LONG), size).average_price >= quote.ask
    assert walk(quote.taken_levels(Direction.SHORT), size).average_price <= quote.bid


@pytest.mark.parametrize(
    ("cost", "quantity"),
    [("0", "0"), ("50", "0.5"), ("100", "1"), ("201", "2"), ("403", "4"), ("505", "5"), ("607", "6"), ("9999", "6")],
)
def test_an_amount_buys_level_by_level_up_to_all_there_is(cost: str, quantity: str) -> None:
    assert quantity_worth(levels("100x1", "101x3", "102x2"), Decimal(cost)) == Decimal(quantity)


@pytest.mark.parametrize(
    ("sign", "book", "limit", "taken"),
    [
        (1, ("100x1", "101x3", "102x2"), "101", ["100", "101", "101"]),
        (1, ("100x1", "101x3", "102x2"), "101.5", ["100", "101", "101.5"]),
        (1, ("100x1", "101x3", "102x2"), "99.9", ["99.9"]),
        (-1, ("102x2", "101x3", "100x1"), "101", ["102", "101", "101"]),
        (-1, ("102x2", "101x3", "100x1"), "100.5", ["102", "101", "100.5"]),
        (-1, ("102x2", "101x3", "100x1"), "102.1", ["102.1"]),
    ],
)
def test_a_limit_takes_the_levels_that_are_no_worse_and_rests_with_what_is_left(
    sign: int, book: tuple[str, ...], limit: str, taken: list[str]
) -> None:
    found = levels_within(levels(*book), Decimal(limit), sign)

    assert [level.price for level in found] == [Decimal(price) for price in taken]
    # It should take from the book what the book holds, and any size at the limit
    assert [level.quantity for level in found[:-1]] == [level.quantity for level in levels(*book)[: len(taken) - 1]]
    assert found[-1].quantity == Decimal("Infinity")


def test_a_size_within_a_level_pays_the_price_itself_and_no_rounded_quotient() -> None:
    # 0.215 of it, divided by 0.215 again, ends in another digit.
    price = Decimal("8811.137758724174957585026075")
    book = (Level(price=price, quantity=Decimal(1)), Level(price=2 * price, quantity=Decimal(1)))

    assert walk(book, Decimal("0.215")).average_price == price
    assert walk(book, Decimal(0)).average_price == price
