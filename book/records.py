"""What was recorded when something ran: one JSON file a page, one for the GPU, one for the last ``make test``.

The records of pages and of the GPU are committed, beside this file in ``records/``: the status page shows what the
outputs in the repository were made with. The record of ``make test`` belongs to one machine and lies in ``_build``.
Nothing here is written by hand.
"""

import datetime
import json
from pathlib import Path
from typing import Any

from book import notebooks

PAGES = notebooks.ROOT / "book" / "records"
GPU = PAGES / "gpu.json"
TESTS = notebooks.ROOT / "_build" / "records" / "tests.json"


def today() -> str:
    """The date in UTC, as 2026-01-31."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def page_record(name: str, folder: Path = PAGES) -> Path:
    """Where the record of the page ``name`` lies."""
    return folder / f"{name}.json"


def read(path: Path) -> dict[str, Any] | None:
    """A record, None where nothing was recorded yet.

    Raises:
        ValueError: the file is not a record.
    """
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path.name}: not JSON ({error}); delete the file and run `make run` or `make test`"
        ) from error
    if not isinstance(record, dict):
        raise ValueError(f"{path.name}: a {type(record).__name__}, wanted an object; delete it and record again")
    return record


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)
