"""Extends the API's description: the service key, the errors, and the order as it may be written."""

from typing import Any

from drf_spectacular.contrib.pydantic import PydanticExtension
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.openapi import AutoSchema

from execution.api.serializers.fields import AMOUNT_PATTERN, NAME_PATTERN, SYMBOL_PATTERN, AnySerializer
from execution.api.serializers.service import ProblemOut
from execution.domain.trading import DIRECTIONS

# A JSON Schema as pydantic and the package give and take it.
Schema = dict[str, Any]
BOUNDS = {"ge": "minimum", "le": "maximum"}
# A default of null means only that the field may be left out.
LEFT_OUT = frozenset({"anyOf", "default", "title"})
NULL, TEXT = {"type": "null"}, {"type": "string"}
# The same of what has bounds of its own, by its maximum.
PATTERNS = {
    1.0: r"^(1(\.0{1,12})?|0\.(?!0{1,2}$|000)[0-9]{1,12})$",
    1000.0: r"^(1000(\.0{1,12})?|[1-9][0-9]{0,2}(\.[0-9]{1,12})?|0\.(?!0$|00)[0-9]{1,12})$",
    100.0: r"^(100(\.0{1,12})?|[1-9][0-9]?(\.[0-9]{1,12})?|0\.(?!0{1,2}$|000)[0-9]{1,12})$",
}
# RFC 3339 within the years that are accepted; an empty text is no time.
MOMENT_PATTERN = (
    r"^$|^20[0-9]{2}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    r"|02-(0[1-9]|1[0-9]|2[0-8]))T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z$"
)


class ServiceKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The two headers, either of which carries the service key."""

    target_class = "execution.api.permissions.ServiceKeyAuthentication"
    name = ["serviceKey", "serviceKeyAsBearer"]

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[str]]]:  # noqa: ARG002
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, str]]:  # noqa: ARG002
        return [
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            {"type": "http", "scheme": "bearer"},
        ]


class RestOrderSchema(PydanticExtension):  # type: ignore[no-untyped-call]
    """The order as a client may write it. The model's own schema describes what it becomes."""

    target_class = "execution.signals.schemas.RestOrder"
    priority = 1

    def get_name(self, auto_schema: AutoSchema, direction: str) -> str:  # noqa: ARG002
        """Keep the name by which clients were generated."""
        return "ManualOrder"

    def map_serializer(self, auto_schema: AutoSchema, direction: str) -> Schema:  # noqa: ARG002
        schema: Schema = self.target.model_json_schema()
        properties: dict[str, Schema] = _inlined(schema["properties"], schema.get("$defs", {}))
        written = {name: _in_openapi_words(each) for name, each in properties.items()}
        written["side"] = {"type": "string", "enum": list(DIRECTIONS)}
        written["symbol"]["pattern"] = SYMBOL_PATTERN
        written["timestamp"] = {"type": "string", "pattern": MOMENT_PATTERN, "nullable": True}
        for name in ("request_id", "requested_by"):
            written[name]["pattern"] = NAME_PATTERN
        written["metadata"] = {"type": "object", "additionalProperties": {}}
        return {
            "type": "object",
            "properties": written,
            "required": schema["required"],
            "additionalProperties": False,
        }


def _inlined(schema: Any, models: Schema) -> Any:
    """Write out the models that a schema only refers to: its references lead nowhere in ours."""
    if isinstance(schema, list):
        return [_inlined(each, models) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(models[schema["$ref"].rpartition("/")[2]], models)
    return {name: _inlined(each, models) for name, each in schema.items()}


def _in_openapi_words(schema: Schema) -> Schema:
    """Turn pydantic's JSON Schema into that of OpenAPI 3.0, which spells null and bounds differently."""
    kinds = [_in_openapi_words(kind) for kind in schema.get("anyOf", [])]
    shown = {BOUNDS.get(name, name): _number(value) for name, value in schema.items() if name not in LEFT_OUT}
    if "properties" in schema:
        shown["properties"] = {name: _in_openapi_words(each) for name, each in schema["properties"].items()}
    if "items" in schema:
        shown["items"] = _in_openapi_words(schema["items"])
    most = next((kind["maximum"] for kind in kinds if "maximum" in kind), 0.0)
    text = {"pattern": PATTERNS.get(most, AMOUNT_PATTERN)}
    alternatives = [kind | (text if kind == TEXT else shown) for kind in kinds if kind != NULL]
    nullable = {"nullable": True} if NULL in kinds else {}
    if len(alternatives) > 1:
        return {"anyOf": alternatives} | nullable
    return (alternatives[0] if alternatives else shown) | nullable


def _number(value: object) -> object:
    """Write the bound of a Decimal as a number."""
    return float(value) if isinstance(value, str) and value[0].isdigit() else value


def problems(*codes: int) -> dict[int, type[ProblemOut]]:
    """Return the error answers of an operation."""
    return dict.fromkeys(codes, ProblemOut)


def one(shape: type[AnySerializer]) -> type[AnySerializer]:
    """Declare that a `list` action answers with one object, where the package would describe an array."""
    singular: type[AnySerializer] = forced_singular_serializer(shape)  # type: ignore[no-untyped-call]
    return singular
