"""The types of the exchange's JSON, as the connector returns it and `parse` and its relatives read it.

A field can be of any type. Each reader turns the fields that it needs into values of our own, and a field that cannot
be read raises there, so that the answer counts as unreadable.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
# A whole answer: an object, a list of objects, or text.
Body: TypeAlias = Any
