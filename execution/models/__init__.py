"""What the service remembers: one file a noun. PostgreSQL is the truth for everything that we intended and booked."""

from execution.models.account_income import AccountIncome, IncomeReading
from execution.models.bracket import Bracket, BracketLeg
from execution.models.claim import EntryClaim
from execution.models.dead_letter import DeadLetter
from execution.models.ess import EssStatus
from execution.models.external import ExternalPosition
from execution.models.figure import Figure
from execution.models.fill import Fill
from execution.models.heartbeat import Heartbeat
from execution.models.hold import EntryHold
from execution.models.impediment import Impediment
from execution.models.inbox import InboxEvent
from execution.models.income import Income
from execution.models.journal import JournalHead, JournalSeal
from execution.models.kill_switch import KillSwitch
from execution.models.lease import AccountLease
from execution.models.nonce import SeenNonce
from execution.models.operator_action import OperatorAction
from execution.models.order import Order
from execution.models.outbox import OutboxEvent, OutboxSequence
from execution.models.policy import PolicyValue
from execution.models.position import Position
from execution.models.promotion import ModelPromotion
from execution.models.quarantine import QuarantinedRow
from execution.models.request import ExecutionRequest
from execution.models.stream import StreamLoss, StreamPosition
from execution.models.told import ToldFill
from execution.models.trade import Trade
from execution.models.transition import Transition

__all__ = [
    "AccountIncome",
    "AccountLease",
    "Bracket",
    "BracketLeg",
    "DeadLetter",
    "EntryClaim",
    "EntryHold",
    "EssStatus",
    "ExecutionRequest",
    "ExternalPosition",
    "Figure",
    "Fill",
    "Heartbeat",
    "Impediment",
    "InboxEvent",
    "Income",
    "IncomeReading",
    "JournalHead",
    "JournalSeal",
    "KillSwitch",
    "ModelPromotion",
    "OperatorAction",
    "Order",
    "OutboxEvent",
    "OutboxSequence",
    "PolicyValue",
    "Position",
    "QuarantinedRow",
    "SeenNonce",
    "StreamLoss",
    "StreamPosition",
    "ToldFill",
    "Trade",
    "Transition",
]
