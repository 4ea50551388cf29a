"""The kill switch: an operator stops entries, cancels the resting ones, or closes everything.

The row is what blocks: the statement that lets an entry leave reads it. A task enforces the rest at once, and every
monitor cycle again, until the exchange confirms that nothing is left of it.
"""

from datetime import datetime

import structlog
from django.db import transaction

from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.models import KillSwitch
from execution.store.entry_gates import engaged_switch
from execution.store.kill_switch import insert_engagement, lock_kill_switch
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
ENTITY = "kill_switch"


class KillSwitchError(Exception):
    """The switch cannot be moved as asked, and the message has the reason and the level in force."""


def set_kill_switch(level: KillLevel | None, authorization: Authorization, *, now: datetime) -> KillSwitch:
    """Put a level in force, or release it with None.

    Raises:
        KillSwitchError: as for `engage` and `release_switch`; nothing was changed.

    """
    return engage(level, authorization, now=now) if level else release_switch(authorization, now=now)


def engage(level: KillLevel, authorization: Authorization, *, now: datetime) -> KillSwitch:
    """Put a level in force. The same level again changes nothing.

    Raises:
        KillSwitchError: a stronger level is in force, which only an explicit release ends.

    """
    with transaction.atomic():
        lock_kill_switch()
        known = engaged_switch()
        if known and known.level == level:
            return known
        if known and KillLevel(known.level).rank > level.rank:
            raise KillSwitchError(f"KILL_SWITCH_STRONGER: in_force={known.level} asked={level}; release it first")
        if known:
            _end(known, Authorization(by=authorization.by, reason=f"raised to {level}: {authorization.reason}"), now)
        switch = insert_engagement(level, authorization, now=now)
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
        lock_kill_switch()
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
