"""Lists everything that holds requests or entries, and releases what an operator names.

Each release is written to the journal.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping

from django.core.management.base import CommandError

from execution import wiring
from execution.domain.json_values import JsonValue
from execution.domain.rate_limits import CircuitState
from execution.management.terminal import TerminalCommand
from execution.models import AccountLease
from execution.store.entry_gates import engaged_switch
from execution.store.holds import blocking_ess, delete_leases, entry_holds, leases_of_others
from execution.store.transitions import log_step

LIMITER, BREAKER, LEASE, ALL = "limiter", "breaker", "lease", "all"


class Command(TerminalCommand):
    """`manage.py release_holds [--release limiter|breaker|lease|all --by NAME --reason "..."]`.

    A ban that is real comes back with the next request. The emergency stop, entry holds and the kill switch are listed
    with the command that releases each.
    """

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--release", choices=[LIMITER, BREAKER, LEASE, ALL], help="what to end; without: list only")
        parser.add_argument("--by", default="", help="who asks for it")
        parser.add_argument("--reason", default="", help="why it is safe to send again")

    def handle(self, *_: object, release: str | None, by: str, reason: str, **__: object) -> None:
        try:
            found = list(_holds())
            for line in found or ["nothing is held"]:
                self.stdout.write(line)
            if release:
                self._release(release, by.strip(), reason.strip())
        except wiring.RedisSilentError as error:
            raise CommandError(f"Redis does not answer ({type(error).__name__}): nothing was released") from None

    def _release(self, what: str, by: str, reason: str) -> None:
        if not by or not reason:
            raise CommandError("--release needs --by and --reason")
        for name in RELEASES if what == ALL else [what]:
            before = RELEASES[name]()
            details = {"by": by, "before": before}
            now = wiring.clock()
            log_step(
                "hold", name, to_state="RELEASED", trigger="operator", now=now, reason=("", reason), details=details
            )
            self.stdout.write(f"released {name}")


def _holds() -> Iterator[str]:
    """Describe what is held and for how much longer."""
    limiter = wiring.limiter_state()
    for who, left in limiter.holds.items():
        if left:
            yield f"{LIMITER}: {who} must wait, {left:.0f}s more; probes={limiter.probes}"
    circuit = wiring.circuit_state()
    if circuit.state is not CircuitState.CLOSED:
        yield f"{BREAKER}: {circuit.state}, faults={circuit.faults}, probe in {circuit.probe_due_seconds:.0f}s"
    for lease in _leases_of_others():
        yield f"{LEASE}: held by {lease.holder} fence={lease.fence}, renewed at {lease.renewed_at.isoformat()}"
    for status in blocking_ess():
        until = status.held_until.isoformat() if status.held_until else "the service reports otherwise"
        yield f"emergency stop: {status.state} until {until} (manage.py rearm_ess)"
    for hold in entry_holds():
        yield f"entries of {hold.scope}: {hold.reason} (manage.py release_entries)"
    if switch := engaged_switch():
        yield f"kill switch: {switch.level} by {switch.engaged_by} (manage.py kill_switch released)"


def _leases_of_others() -> list[AccountLease]:
    stack = wiring.stack()
    return leases_of_others(stack.account, settings=stack.settings)


def _release_limiter() -> JsonValue:
    before: JsonValue = {who.value: left for who, left in wiring.limiter_state().holds.items()}
    wiring.limiter().release()
    return before


def _release_breaker() -> JsonValue:
    before = wiring.circuit_state()
    wiring.breaker().release()
    return {"state": before.state.value, "probe_due_seconds": before.probe_due_seconds}


def _release_lease() -> JsonValue:
    leases = _leases_of_others()
    before: JsonValue = [{"holder": each.holder, "renewed_at": each.renewed_at.isoformat()} for each in leases]
    # A stack that is alive takes it again with its next cycle.
    delete_leases(leases)
    return before


RELEASES: Mapping[str, Callable[[], JsonValue]] = {
    LIMITER: _release_limiter,
    BREAKER: _release_breaker,
    LEASE: _release_lease,
}
