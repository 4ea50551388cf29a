"""The addresses beside the API: what this service is, its schema and its page."""

from django.conf import settings
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from execution.api.base import FirstRenderer, JsonView
from execution.api.permissions import HoldsServiceKey
from execution.api.schema import problems
from execution.api.serializers.service import ServiceOut


class ServiceView(JsonView):
    """`GET /`."""

    @extend_schema(operation_id="service", responses={200: ServiceOut, **problems(401)})
    def get(self, request: Request) -> Response:  # noqa: ARG002 -- the framework's signature
        service = {
            "service": settings.SERVICE_NAME,
            "version": settings.SERVICE_VERSION,
            "status": "running",
            "mode": settings.ENV.mode,
            "docs": "/docs",
        }
        return Response(ServiceOut(service).data)


class SchemaView(SpectacularAPIView):
    """`GET /schema`: the package's default lets everybody in."""

    permission_classes = [HoldsServiceKey]
    content_negotiation_class = FirstRenderer


class DocsView(SpectacularSwaggerSplitView):
    """`GET /docs`, with page and script from the package's own files and no script in the page."""

    permission_classes = [HoldsServiceKey]
    content_negotiation_class = FirstRenderer
    url_name = "schema"
