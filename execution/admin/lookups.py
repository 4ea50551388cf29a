"""Lists of large tables: searches go by an index, counts are estimated, and no page is deep."""

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import ClassVar

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from execution.admin.shared import ReadOnlyAdmin
from execution.domain import bounds
from execution.domain.typed_ids import TypedId, ids_beginning_with, recognise
from execution.models import Fill, Order

# Up to so many rows are counted.
COUNTED = 100_000
# Rows further on are found by search and filter: a deep page reads everything before it.
MOST_PAGES = 200
Finder = Callable[[str], Q]
Searches = Mapping[TypedId, Finder]


class EstimatedPaginator(Paginator):  # type: ignore[type-arg]  # of any table
    """Pages of a table of any size."""

    @cached_property
    def count(self) -> int:
        """The number of rows; above 100,000 as the database's planner estimates it."""
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        plain = rows.order_by().select_related(None)
        found: int = plain[: COUNTED + 1].count()
        if found <= COUNTED:
            return found
        plan = json.loads(plain.explain(format="json"))
        return max(found, int(plan[0]["Plan"]["Plan Rows"]))

    @cached_property
    def num_pages(self) -> int:
        return min(MOST_PAGES, super().num_pages)


class LargeTableAdmin(ReadOnlyAdmin):
    """A list of a table that grows without end.

    `searches`: what is looked for by each kind of word. Every one goes by an index.
    """

    paginator = EstimatedPaginator
    # Only what an index sorts.
    sortable_by: ClassVar[tuple[str, ...]] = ()
    searches: ClassVar[Searches] = {}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        """Keep the rows that every word finds. A word that nothing can be looked up by finds none."""
        for word in search_term.split():
            finder = self.searches.get(recognise(word))
            if finder is None:
                kinds = ", ".join(kind.value for kind in self.searches)
                messages.warning(request, f"“{word}” is none of what this table is searched by: {kinds}.")
                return queryset.none(), False
            queryset = queryset.filter(finder(word))
        return queryset, False


def by_id(column: str) -> Finder:
    """Find rows by an id or its first digits."""

    def find(word: str) -> Q:
        first, last = ids_beginning_with(word)
        return Q(**{column: first}) if first == last else Q(**{f"{column}__range": (first, last)})

    return find


def by_text(*columns: str) -> Finder:
    """Find rows by a text that stands in one of these columns as it is."""

    def find(word: str) -> Q:
        found = Q()
        for column in columns:
            found |= Q(**{column: word})
        return found

    return find


def by_symbol(column: str = "symbol") -> Finder:
    """Find rows by a symbol, in small letters too."""
    return lambda word: Q(**{column: bounds.capitals(word)})


def by_order(column: str, *, of: str) -> Finder:
    """Find rows by our client order id, through the order: its column `of` is in `column`."""

    def find(word: str) -> Q:
        known = Order.objects.filter(client_order_id=word).values_list(of, flat=True)
        return Q(**{f"{column}__in": list(known)})

    return find


def by_number(column: str) -> Finder:
    """Find decisions by a number of the exchange: of an order, a conditional order, or a fill."""

    def find(word: str) -> Q:
        orders = Order.objects.filter(Q(exchange_order_id=word) | Q(algo_id=word)).values_list("request_id", flat=True)
        fills = Fill.objects.filter(exchange_trade_id=int(word)) if int(word) < 2**63 else Fill.objects.none()
        return Q(**{f"{column}__in": [*orders[:COUNTED], *fills.values_list("trade_id", flat=True)]})

    return find


def by_entity(*entities: str) -> Finder:
    """Find lines of the journal by the whole id of what they are about."""
    return lambda word: Q(entity__in=entities, entity_id=word.lower())
