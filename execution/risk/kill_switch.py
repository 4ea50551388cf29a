"""The kill switch: a person's word that stops entries, cancels those that rest, or closes everything.

The row is what blocks: entries ask for it in the statement that lets them leave. The rest is work, done by a task at
once and again by every monitor cycle until the exchange confirms that nothing is left of it.
"""

from datetime import datetime

import structlog
from django.db import connection, transaction

from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.models import KillSwitch
from execution.risk.entry_gate import engaged_switch
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
ENTITY = "kill_switch"
# One lock for all processes while the switch is moved, so that two people cannot both find it released.
SWITCH_LOCK = 0x6B696C6C


class KillSwitchError(Exception):
    """The switch cannot be moved as asked; the message says why, with the level in force."""


def set_kill_switch(level: KillLevel | None, authorization: Authorization, *, now: datetime) -> KillSwitch:
    """Put a level in force, or release it with None.

    Raises:
        KillSwitchError: as `engage` and `release` say; nothing was changed.

    """
    return engage(level, authorization, now=now) if level else release_switch(authorization, now=now)


def engage(level: KillLevel, authorization: Authorization, *, now: datetime) -> KillSwitch:
    """Put a level in force; the same level again changes nothing.

    Raises:
        KillSwitchError: a stronger level is in force, which only an explicit release ends.

    """
    with transaction.atomic():
        _lock()
        known = engaged_switch()
        if known and known.level == level:
            return known
        if known and KillLevel(known.level).rank > level.rank:
            raise KillSwitchError(f"KILL_SWITCH_STRONGER: in_force={known.level} asked={level}; release it first")
        if known:
            _end(known, Authorization(by=authorization.by, reason=f"raised to {level}: {authorization.reason}"), now)
        switch = KillSwitch.objects.create(
            level=level, reason=authorization.reason, engaged_by=authorization.by, engaged_at=now
        )
        before = known.level if known else "released"
        log_step(
            ENTITY,
            switch.pk,
            from_state=before,
            to_state=level,
            trigger="engaged",
            now=now,
            reason=("", authorization.reason),
            details={"by": authorization.by},
        )
    log.error("kill_switch_engaged", kill_level=level, by=authorization.by, reason=authorization.reason)
    return switch


def release_switch(authorization: Authorization, *, now: datetime) -> KillSwitch:
    """End what is in force: entries pass again.

    Raises:
        KillSwitchError: nothing is in force.

    """
    with transaction.atomic():
        _lock()
        known = engaged_switch()
        if known is None:
            raise KillSwitchError("KILL_SWITCH_NOT_ENGAGED: there is nothing to release")
        _end(known, authorization, now)
        log_step(
            ENTITY,
            known.pk,
            from_state=known.level,
            to_state="released",
            trigger="released",
            now=now,
            reason=("", authorization.reason),
            details={"by": authorization.by},
        )
    log.warning("kill_switch_released", kill_level=known.level, by=authorization.by, reason=authorization.reason)
    return known


def _end(switch: KillSwitch, authorization: Authorization, now: datetime) -> None:
    switch.released_at, switch.released_by, switch.release_reason = now, authorization.by, authorization.reason
    switch.save(update_fields=["released_at", "released_by", "release_reason"])


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SWITCH_LOCK])
