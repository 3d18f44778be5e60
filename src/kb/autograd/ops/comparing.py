"""Comparisons and logic: what they give is true or false, so there is no gradient and no rule."""

from kb.autograd.tape import Op

equal: Op = Op("eq", lambda a, b: a == b)
not_equal: Op = Op("ne", lambda a, b: a != b)
less: Op = Op("lt", lambda a, b: a < b)
less_equal: Op = Op("le", lambda a, b: a <= b)
greater: Op = Op("gt", lambda a, b: a > b)
greater_equal: Op = Op("ge", lambda a, b: a >= b)
both: Op = Op("and", lambda a, b: a & b)
either: Op = Op("or", lambda a, b: a | b)
logical_not: Op = Op("not", lambda a: ~a)
isnan: Op = Op("isnan", lambda xp, a: xp.isnan(a))
isfinite: Op = Op("isfinite", lambda xp, a: xp.isfinite(a))
