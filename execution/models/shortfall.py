"""What the execution of each closed trade has cost, by part: computed once, when its books are closed."""

from decimal import Decimal

from django.db import models
from django.db.models import Q

from execution.domain.shortfall import Benchmark, TradeSize
from execution.domain.trading import Direction, OrderType
from execution.models.fields import code, money, one_of, optional_money
from execution.models.trade import Trade

# The parts of a shortfall, in the order in which they are shown.
PARTS = ("delay", "spread", "impact", "unsplit", "missed", "fees", "funding", "other")


class Shortfall(models.Model):
    """The implementation shortfall of a trade in its quote asset.

    Positive is a cost, and what is not known is empty. Columns of the trade that reports sum by are repeated here.
    """

    trade = models.OneToOneField(Trade, on_delete=models.PROTECT, related_name="shortfall", primary_key=True)
    symbol = code(40)
    strategy = models.CharField(max_length=100, blank=True)
    direction = code(5)
    order_type = code()
    # Of the decision, in UTC.
    hour = models.PositiveSmallIntegerField()
    size = code(8, blank=True)
    closed_at = models.DateTimeField()
    quote_asset = code(blank=True)
    quote_index = optional_money()
    # Of the whole approved quantity at the benchmark's price.
    notional_usd = optional_money()
    wanted_quantity = money()
    missed_quantity = money()
    benchmark = code(8)
    benchmark_price = optional_money()
    total = optional_money()
    delay = optional_money()
    spread = optional_money()
    impact = optional_money()
    unsplit = optional_money()
    missed = optional_money()
    fees = money()
    funding = money()
    other = optional_money()
    # False where fees or income of the trade have no known value: they are in no part.
    complete = models.BooleanField(default=True)
    # State of the books that it was computed from.
    corrections = models.PositiveSmallIntegerField(default=0)
    books_of = models.DateTimeField()

    class Meta:
        verbose_name = "execution shortfall"
        verbose_name_plural = "execution quality"
        constraints = [
            one_of("shortfall_benchmark_known", "benchmark", Benchmark),
            one_of("shortfall_direction_known", "direction", Direction),
            one_of("shortfall_type_known", "order_type", [OrderType.MARKET, OrderType.LIMIT]),
            models.CheckConstraint(name="shortfall_size_known", condition=Q(size__in=["", *sorted(TradeSize)])),
            models.CheckConstraint(
                name="shortfall_of_a_benchmark",
                condition=Q(benchmark=Benchmark.UNKNOWN, total=None) | Q(total__isnull=False, other__isnull=False),
            ),
        ]
        indexes = [
            # Read by the report of execution quality: the trades that were closed in a range of time.
            models.Index(fields=["closed_at"], name="shortfall_closed"),
            # Read by the task that computes them: how far it has come.
            models.Index(fields=["books_of"], name="shortfall_books"),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.direction} {self.total}"

    def part(self, name: str) -> Decimal | None:
        """Return a part by its name, None where it is not known."""
        amount: Decimal | None = getattr(self, name)
        return amount
