"""The service's tables, one file a noun. PostgreSQL is the truth for all that was intended and booked."""

from execution.models.account_income import AccountIncome, IncomeReading
from execution.models.audit_event import AuditEvent
from execution.models.bracket import Bracket, BracketLeg
from execution.models.dead_letter import DeadLetter
from execution.models.equity import EquityPoint
from execution.models.ess import EssStatus
from execution.models.external import ExternalPosition
from execution.models.fill import Fill
from execution.models.heartbeat import Heartbeat
from execution.models.hold import EntryHold
from execution.models.inbox import InboxEvent
from execution.models.income import Income
from execution.models.journal import JournalHead, JournalSeal
from execution.models.kill_switch import KillSwitch
from execution.models.lease import AccountLease
from execution.models.metric import Metric
from execution.models.nonce import SeenNonce
from execution.models.operator_action import OperatorAction
from execution.models.order import Order
from execution.models.outbox import OutboxEvent, OutboxSequence
from execution.models.policy import PolicyValue
from execution.models.position import Position
from execution.models.position_slot import PositionSlot
from execution.models.promotion import ModelPromotion
from execution.models.quarantine import QuarantinedRow
from execution.models.request import ExecutionRequest
from execution.models.shortfall import Shortfall
from execution.models.stream import StreamLoss, StreamPosition
from execution.models.streamed_fill import StreamedFill
from execution.models.trade import Trade
from execution.models.trade_chart import TradeChart
from execution.models.venue_block import VenueBlock
from execution.models.webhook import Webhook

__all__ = [
    "AccountIncome",
    "AccountLease",
    "AuditEvent",
    "Bracket",
    "BracketLeg",
    "DeadLetter",
    "EntryHold",
    "EquityPoint",
    "EssStatus",
    "ExecutionRequest",
    "ExternalPosition",
    "Fill",
    "Heartbeat",
    "InboxEvent",
    "Income",
    "IncomeReading",
    "JournalHead",
    "JournalSeal",
    "KillSwitch",
    "Metric",
    "ModelPromotion",
    "OperatorAction",
    "Order",
    "OutboxEvent",
    "OutboxSequence",
    "PolicyValue",
    "Position",
    "PositionSlot",
    "QuarantinedRow",
    "SeenNonce",
    "Shortfall",
    "StreamLoss",
    "StreamPosition",
    "StreamedFill",
    "Trade",
    "TradeChart",
    "VenueBlock",
    "Webhook",
]
