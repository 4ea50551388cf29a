"""How the API describes itself: the service key, the errors, and the order in the words that are accepted."""

from typing import Any

from drf_spectacular.contrib.pydantic import PydanticExtension
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.openapi import AutoSchema

from execution.api.serializers import AnySerializer, ProblemOut
from execution.pipeline.schemas import DIRECTIONS


class ServiceKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The two headers that carry the service key."""

    target_class = "execution.api.permissions.ServiceKeyAuthentication"
    name = ["serviceKey", "serviceKeyAsBearer"]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, str]]:  # noqa: ARG002
        return [
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            {"type": "http", "scheme": "bearer"},
        ]


class ManualOrderSchema(PydanticExtension):  # type: ignore[no-untyped-call]
    """The order as one may write it; the model's own schema tells what it becomes."""

    target_class = "execution.pipeline.schemas.ManualOrder"
    match_subclasses = True
    priority = 1

    def map_serializer(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        schema: dict[str, Any] = super().map_serializer(auto_schema, direction)  # type: ignore[no-untyped-call]
        schema["properties"]["side"] = {"type": "string", "enum": list(DIRECTIONS)}
        return schema


def problems(*codes: int) -> dict[int, type[ProblemOut]]:
    """Return the error answers of an operation."""
    return dict.fromkeys(codes, ProblemOut)


def one(shape: type[AnySerializer]) -> type[AnySerializer]:
    """Say that a `list` action answers with one object; the package would describe an array of them."""
    singular: type[AnySerializer] = forced_singular_serializer(shape)  # type: ignore[no-untyped-call]
    return singular
