"""The checks that functions share: what passes, what does not, and what the error says."""

import math
from typing import Any

import pytest

from kb.arguments import is_integer, is_number, require_count


@pytest.mark.parametrize(
    ("value", "integer", "number"),
    [(3, True, True), (-1, True, True), (2.0, False, True), (True, False, False), ("3", False, False)]
    + [(value, False, False) for value in (math.nan, math.inf, None, [1])],
)
def test_kinds(value: Any, integer: bool, number: bool) -> None:
    assert (is_integer(value), is_number(value)) == (integer, number)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", None, math.nan])
def test_what_is_no_count_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match=f"layers must be an integer of at least 1, got {value!r}"):
        require_count("layers", value)


def test_counts_pass() -> None:
    require_count("layers", 1)
    require_count("latent", 0, least=0)
