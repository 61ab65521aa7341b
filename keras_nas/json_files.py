"""Reading JSON by a schema: a file or content of another form is one line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from keras_nas.errors import KerasNasError

OBJECT = {"type": "object"}
"""The schema of any mapping."""


def exactly(**properties: Any) -> dict[str, Any]:
    """The schema of a mapping that has these keys, all of them and no others."""
    return {
        **OBJECT,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def with_optional(schema: Mapping[str, Any], **properties: Any) -> dict[str, Any]:
    """A schema of `exactly` with further keys, each of which may be left out."""
    return {**schema, "properties": {**schema["properties"], **properties}}


def check_json(content: Any, schema: Mapping[str, Any], kind: str, source: str = "This") -> None:
    """Compares plain JSON types with a schema.

    Args:
        content: The content.
        schema: Its JSON schema.
        kind: What it should be, such as "latency table".
        source: Whence it is, as the message begins.

    Raises:
        KerasNasError: It does not fit; the message says where.
    """
    try:
        jsonschema.validate(content, schema)
    except jsonschema.ValidationError as error:
        where = "/".join(str(part) for part in error.absolute_path) or "the top"
        raise KerasNasError(f"{source} is no {kind}: at {where}: {error.message}") from error


def read_json(path: str | os.PathLike[str], schema: Mapping[str, Any], kind: str) -> Any:
    """The content of a JSON file that fits a schema; arguments as in `check_json`.

    Raises:
        KerasNasError: The file cannot be read, is not JSON, or does not fit.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise KerasNasError(f"Cannot read the {kind} {path}: {error.strerror}.") from error
    except ValueError as error:
        raise KerasNasError(f"Cannot read the {kind} {path}: it is not JSON: {error}.") from error
    check_json(content, schema, kind, str(path))
    return content
