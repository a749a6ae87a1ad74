"""Decodes messages with decoders that nobody here wrote: `decode.py sbe|sbedecoder SCHEMA`, one message in hex a line in,
one JSON object a line out: name and fields, composites as objects, enumerations by name, reserved texts as they come."""

import json
import sys
from typing import Any


def sbe_reader(path: str) -> Any:
    import sbe

    with open(path, "rb") as file:
        schema = sbe.Schema.parse(file)

    def decode(message: bytes) -> tuple[str, dict[str, Any]]:
        decoded = schema.decode(message)
        return decoded.message_name, decoded.value

    return decode


def sbedecoder_reader(path: str) -> Any:
    from sbedecoder import SBESchema
    from sbedecoder.message import CompositeMessageField, EnumMessageField, SBEMessage

    schema = SBESchema()
    schema.parse(path)
    header = {"block_length", "template_id", "schema_id", "version"}

    def value(field: Any) -> Any:
        if isinstance(field, CompositeMessageField):
            return {part.original_name: value(part) for part in field.parts}
        return field.enumerant if isinstance(field, EnumMessageField) else field.value

    def decode(message: bytes) -> tuple[str, dict[str, Any]]:
        decoded = SBEMessage.parse_message(schema, message)
        fields = {field.original_name: value(field) for field in decoded.fields if field.name not in header}
        return type(decoded).__name__, fields

    return decode


decode = {"sbe": sbe_reader, "sbedecoder": sbedecoder_reader}[sys.argv[1]](sys.argv[2])
for line in sys.stdin:
    name, fields = decode(bytes.fromhex(line))
    print(json.dumps({"name": name, "fields": fields}))
