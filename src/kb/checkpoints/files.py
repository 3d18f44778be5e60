"""The JSON files of a Hugging Face folder."""

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ValueError: the file is missing, cannot be read, is not JSON or holds no object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path.parent} has no {path.name}: not the folder of a Hugging Face checkpoint") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(found).__name__}")
    return found


def json_or_empty(path: Path) -> dict[str, Any]:
    """:func:`read_json`, or an empty object where there is no such file."""
    return read_json(path) if path.exists() else {}
