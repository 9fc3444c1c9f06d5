"""JSON Schemas out of types; those that have a name stand once, under `components`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

Mode = Literal["validation", "serialization"]
COMES: Final[Mode] = "validation"
GOES: Final[Mode] = "serialization"
REFERENCE: Final = "#/components/schemas/{model}"


class _Untitled(GenerateJsonSchema):
    """Without what says nothing: titles that repeat a field's name, and defaults of null."""

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        """Without a default of null, which only stands for what was left out."""
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


@dataclass
class Schemas:
    """Types that are described together, so that each of them has one name."""

    _wanted: list[tuple[int, Mode, TypeAdapter[Any]]] = field(default_factory=list)
    _slots: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: Any, mode: Mode) -> Mapping[str, Any]:
        """The schema of a type, as it comes or as it goes; `fill` writes into it."""
        slot: dict[str, Any] = {}
        self._wanted.append((len(self._slots), mode, TypeAdapter(kind)))
        self._slots.append(slot)
        return slot

    def fill(self) -> Mapping[str, Any]:
        """Write every schema that was asked for, and answer the named ones that they refer to."""
        found, rest = TypeAdapter.json_schemas(self._wanted, ref_template=REFERENCE, schema_generator=_Untitled)
        for (place, _), schema in found.items():
            self._slots[place].update(_untitled(schema))
        return {name: _untitled(schema) for name, schema in sorted(rest.get("$defs", {}).items())}


def _untitled(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "title"}
