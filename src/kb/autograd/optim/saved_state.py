"""Reading an optimizer's state dict: is it one of these parameters, and what does it hold for each of them.

The layout is torch's: {"state": {number: {name: value}}, "param_groups": [{"params": [number], option: value}]}, where
the numbers stand for parameters in the order of the groups. Unusual: the arrays may be of another library than the
parameters', and a dict of another optimizer or of other shapes is refused, where torch would fail in the next step.

Source: torch's documentation of ``torch.optim.Optimizer.state_dict``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kb.autograd.backend import Array, device, is_array, namespace, to_numpy
from kb.autograd.optim.parameters import array_of


def check_layout(saved: Any, groups: Sequence[Mapping[str, Any]], options: Iterable[str]) -> None:
    """Refuse what is no state dict for these groups.

    Raises:
        TypeError: it is no dict.
        ValueError: it lacks a part or an option, or its groups are not as many or not as long.
    """
    if not isinstance(saved, Mapping):
        raise TypeError(f"a state dict must be a dict, got {type(saved).__name__}")
    if not (isinstance(saved.get("state"), Mapping) and isinstance(saved.get("param_groups"), list | tuple)):
        held = ", ".join(map(str, saved)) or "nothing"
        raise ValueError(f"a state dict must hold state and param_groups, this one holds {held}")
    theirs = saved["param_groups"]
    if not all(isinstance(group, Mapping) and isinstance(group.get("params"), list | tuple) for group in theirs):
        raise ValueError("each of param_groups must be a dict with a list of params")
    sizes, wanted = [len(group["params"]) for group in theirs], [len(group["params"]) for group in groups]
    if sizes != wanted:
        raise ValueError(f"the state dict has groups of {sizes} parameters, this optimizer of {wanted}")
    for place, group in enumerate(theirs):
        missing = sorted(set(options) - set(group))
        if missing:
            raise ValueError(f"group {place} of the state dict lacks {', '.join(missing)}: is it of another optimizer?")


def place_states(
    saved: Mapping[str, Any],
    groups: Sequence[Mapping[str, Any]],
    keeps: Callable[[Array], Mapping[str, tuple[int, ...]]],
    may_keep: Sequence[str],
) -> dict[Any, dict[str, Any]]:
    """What the state dict holds for each parameter, in memory of its own.

    Args:
        saved: Of a layout that was checked.
        groups: With the parameters.
        keeps: Of a parameter's array, what its state must hold, and in which shape.
        may_keep: What it may hold besides, in the parameter's shape; None there counts as nothing.

    Raises:
        ValueError: a state is of no parameter, lacks something, or holds something else or of another shape.
    """
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    parameters = dict(zip(numbers, [p for group in groups for p in group["params"]], strict=True))
    states: dict[Any, dict[str, Any]] = {}
    for number, state in saved["state"].items():
        if number not in parameters or not isinstance(state, Mapping):
            raise ValueError(f"state {number!r} of the state dict is of no parameter in its groups")
        held = {name: value for name, value in state.items() if value is not None}
        parameter = parameters[number]
        like = array_of(parameter)
        kept = keeps(like)
        if held and not set(kept) <= set(held) <= {*kept, *may_keep}:
            wanted = ", ".join((*kept, *(f"{name} (or not)" for name in may_keep)))
            raise ValueError(f"state {number!r} holds {', '.join(map(str, held))}; this optimizer keeps {wanted}")
        shapes = {**dict.fromkeys(may_keep, tuple(like.shape)), **kept}
        states[parameter] = {name: _fit(name, value, like, shapes[name], number) for name, value in held.items()}
    return states


def _fit(name: str, value: Any, like: Array, shape: tuple[int, ...], number: Any) -> Any:
    if name == "step":
        return _read_step(value, number)
    if not is_array(value) or tuple(value.shape) != shape:
        came = f"shape {tuple(value.shape)}" if is_array(value) else type(value).__name__
        raise ValueError(f"{name} of state {number!r} must be an array of shape {shape}, got {came}")
    xp = namespace(like)
    if namespace(value) is not xp:
        value = to_numpy(value)
    return xp.asarray(value, dtype=like.dtype, device=device(like), copy=True)


def _read_step(value: Any, number: Any) -> int:
    """Torch counts in a tensor of a float32, we in an integer."""
    try:
        step = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"step of state {number!r} must be a number, got {type(value).__name__}") from error
    if not (step >= 0 and step.is_integer()):
        raise ValueError(f"step of state {number!r} must be a whole number, got {step}")
    return int(step)
