"""What all addresses of the API have in common: JSON in, JSON out."""

from collections.abc import Iterable

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from execution.api.parsers import ExactJSONParser


class FirstRenderer(DefaultContentNegotiation):
    """Answers in the view's own form whatever a client accepts: a browser's or scraper's header is never an error."""

    def select_renderer(
        self,
        request: Request,  # noqa: ARG002 -- the framework's signature
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002 -- the framework's signature
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class JsonView(APIView):
    """The base of every address of ours; asks for the service key by the project's defaults."""

    content_negotiation_class = FirstRenderer
    parser_classes = [ExactJSONParser]


class OpenView(JsonView):
    """An address that asks nobody for a key."""

    authentication_classes = ()
    permission_classes = ()
