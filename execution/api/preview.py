"""Previews an order or an event by the chain's own verdicts, without storing or sending anything."""

from collections.abc import Mapping

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from execution import wiring
from execution.api.base import JsonView
from execution.api.errors import gathered
from execution.api.schema import problems
from execution.api.serializers.preview import PreviewOut
from execution.queries.preview import PreviewPorts, preview_entry
from execution.signals.envelope import MalformedEventError
from execution.signals.schemas import RestOrder
from execution.signals.unsaved import unsaved_request


class PreviewView(JsonView):
    """Previews a decision. The body is that of an order, or an event with its `event_type`."""

    @extend_schema(
        operation_id="preview", request=RestOrder, responses={200: PreviewOut, **problems(400, 401, 413, 415)}
    )
    def post(self, request: Request) -> Response:
        """Return every rule's verdict, the size and the orders. Nothing is stored or sent."""
        if not isinstance(request.data, Mapping):
            raise ValidationError({"request": ["must be a JSON object"]})
        try:
            decision = unsaved_request(request.data, rules=wiring.intake_rules(), now=wiring.clock())
        except MalformedEventError as error:
            raise ValidationError(gathered(error.broken)) from None
        return Response(PreviewOut(preview_entry(decision, preview_ports())).data)


def preview_ports() -> PreviewPorts:
    """Return what the chain's workers ask, as this process reaches it."""
    return PreviewPorts(
        risk_safety=wiring.risk_safety(),
        ess_rules=wiring.ess_rules(),
        exchange=wiring.exchange(),
        stack=wiring.stack(),
        memory=wiring.memory(),
        lists=wiring.symbol_lists(),
        clock=wiring.clock,
    )
