"""Rows of a table, picked by number."""

from typing import Any

from kb.arguments import is_integer
from kb.autograd import ops
from kb.autograd.arguments import array_in, require_integers, require_within


def embedding(input: Any, weight: Any, padding_idx: int | None = None) -> Any:  # noqa: A002 - torch's name
    """The rows of ``weight`` that ``input`` names.

    Args:
        input: Integers from 0 to rows - 1, any shape.
        weight: [rows, width].
        padding_idx: A row that gets no gradient; counted from the end where negative.

    Returns:
        [..., width].

    Raises:
        TypeError: ``input`` is not integers, or of another library than ``weight``.
        ValueError: ``weight`` has not two axes, or a row is named that there is not.
    """
    table = array_in("weight", weight)
    places = require_integers("input", input, weight)
    if table.ndim != 2:
        raise ValueError(f"weight must be [rows, width], got shape {tuple(table.shape)}")
    rows = table.shape[0]
    require_within("input", places, rows)
    out = ops.getitem(weight, places)
    if padding_idx is None:
        return out
    if not is_integer(padding_idx) or not -rows <= padding_idx < rows:
        raise ValueError(f"padding_idx must be a row of weight, from {-rows} to {rows - 1}, got {padding_idx!r}")
    return ops.where((places == padding_idx % rows)[..., None], table[places], out)
