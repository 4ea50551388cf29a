"""What all addresses of the API have in common: JSON in, JSON out."""

from collections.abc import Iterable

from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from execution.api.parsers import ExactJSONParser
from execution.domain.unread import not_known


class FirstRenderer(DefaultContentNegotiation):
    """Answers in the view's own media type whatever a client accepts.

    A browser's or scraper's header is never an error.
    """

    def select_renderer(
        self,
        request: Request,  # noqa: ARG002 -- the framework's signature
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002 -- the framework's signature
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class JsonView(APIView):
    """The base of every address of the API. It asks for the service key by the project's defaults."""

    content_negotiation_class = FirstRenderer
    parser_classes = [ExactJSONParser]

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """Refuse a request with a parameter that is not read: the answer would ignore what it asks for."""
        super().initial(request, *args, **kwargs)
        # What is no operation has no parameters, and another answer.
        known = self.query_parameters() if hasattr(self, str(request.method).lower()) else None
        if known is not None and (unknown := set(request.query_params) - known):
            raise ValidationError({name: [not_known(name, known)] for name in sorted(unknown)})

    def query_parameters(self) -> frozenset[str] | None:
        """Return the names of the parameters that are read, or None where any may be sent."""
        return frozenset()


class OpenView(JsonView):
    """An address that asks for no key."""

    authentication_classes = ()
    permission_classes = ()

    def query_parameters(self) -> None:
        """Take any: a probe may add one against caches in between."""
