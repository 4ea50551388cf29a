"""Which modules are mutated, and which tests have to kill the mutants."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A survivor here must stand in `equivalents.toml`; elsewhere the overall rate decides.
STRICT = (
    "domain/limits",
    "domain/sizing",
    "domain/exits",
    "domain/exit_orders",
    "domain/brackets",
    "domain/safety",
    "reconciliation/diff",
    "reconciliation/state",
    "reconciliation/diff_external",
    "risk/limit_usage",
    "risk/entry_gate",
    "store/slots",
    "store/entry_gates",
)
ADAPTERS = ("parse", "errors", "outcome_table", "order_parameters", "stream_events", "history", "terms", "weights")
# Ports are protocols: there is nothing to run. The other two are lists of names that their own tests compare.
NOT_MUTATED = frozenset({"domain/__init__", "domain/ports", "domain/reasons"})
RECONCILIATION = ("diff", "state", "diff_external")
# A unit test that names none of these runs nothing that is mutated.
MUTATED = ("execution.domain", "execution.reconciliation", "execution.adapters.binance", "tests.support", "tests.unit.")
# The SQL and the queries that decide whether an entry fits, is held, and is protected.
DATABASE = ("risk/limit_usage", "risk/entry_gate", "risk/pre_send_check", "store/slots", "store/entry_gates")
DATABASE_TESTS = (
    "tests/integration/test_usage.py",
    "tests/integration/test_entry_gate_rows.py",
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One module; `name` is its path below `execution` without the ending."""

    name: str

    @property
    def path(self) -> Path:
        return ROOT / "execution" / f"{self.name}.py"

    @property
    def module(self) -> str:
        return f"execution.{self.name.replace('/', '.')}"

    @property
    def strict(self) -> bool:
        return self.name in STRICT


def pure_targets() -> list[Target]:
    """Return the modules that unit tests alone have to hold."""
    domain = sorted(path.stem for path in (ROOT / "execution/domain").glob("*.py"))
    names = [f"domain/{stem}" for stem in domain]
    names += [f"reconciliation/{stem}" for stem in RECONCILIATION]
    names += [f"adapters/binance/{stem}" for stem in ADAPTERS]
    return [Target(name=name) for name in names if name not in NOT_MUTATED]


def database_targets() -> list[Target]:
    """Return the modules whose SQL is held by tests on a real PostgreSQL."""
    return [Target(name=name) for name in DATABASE]


# The test of this tool reads modules that a mutant has changed, and would kill by that alone.
LEFT_OUT = frozenset({"test_mutants.py"})


def unit_tests() -> list[str]:
    """Return the unit tests that may run what is mutated: the others would only be collected and traced."""
    files = sorted(path for path in (ROOT / "tests/unit").rglob("test_*.py") if path.name not in LEFT_OUT)
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    return [str(path.relative_to(ROOT)) for path, text in texts.items() if any(name in text for name in MUTATED)]
