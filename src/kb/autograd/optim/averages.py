"""Moving averages in place, as several optimizers keep them.

With weight w, average <- average + w (value - average). Unusual: from w = 1/2 on it is counted from the value's side,
value - (1 - w) (value - average), which gives the value itself at w = 1, where the other form would round.
"""

from kb.autograd.backend import Array


def move_average(average: Array, value: Array, weight: float) -> None:
    """Move an average towards a value of its shape, a share ``weight`` of the way; written into the average."""
    step = value - average
    if weight < 0.5:
        step *= weight
        average += step
    else:
        step *= 1 - weight
        average[...] = value - step


def move_square_average(average: Array, value: Array, decay: float) -> None:
    """Move an average of squares: decay average + (1 - decay) value², written into the average."""
    square = (1 - decay) * value
    square *= value
    average *= decay
    average += square
