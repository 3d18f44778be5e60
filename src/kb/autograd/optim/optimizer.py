"""What all optimizers share: groups of parameters, what is remembered of each, a step, saving and loading.

An optimizer says which buffers it keeps for a parameter, which values of its options are sound, and how one array is
updated from its gradient; the rest is here. Unusual: one code serves the arrays of every library, and the update is
written into the parameter's own memory, so that views of it see it. Everything is checked before the first write.

Source: torch's documentation of ``torch.optim.Optimizer``, for names, meaning and the layout of a state dict.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kb.autograd.backend import Array, device, namespace, quiet
from kb.autograd.optim.parameters import array_of, arrays_of, note_write, require_parameter
from kb.autograd.optim.saved_state import check_layout, place_states
from kb.autograd.recording import enable_grad

Shapes = dict[str, tuple[int, ...]]  # by name of what is kept


class Optimizer:
    """Base of the optimizers, with the interface of ``torch.optim.Optimizer``.

    Args:
        params: Parameters, or dicts each with ``params`` and the options that are special to them. A parameter is a
            tensor of this package or of torch, or an object with ``data`` (an array) and ``grad`` (None, an array, or
            an object with ``data``); its numbers are updated in place.
        defaults: Options of the groups that do not say otherwise.

    Attributes:
        param_groups: One dict each: the parameters under ``params``, and every option by its name.
        state: What is remembered of each parameter: ``step``, an integer, and buffers, arrays of the parameter's
            library, dtype and device, and in most optimizers of its shape.
        defaults: As given.

    Raises:
        TypeError: ``params`` is a single parameter or a set, or one of them cannot be updated in place, or is not of
            real floating numbers.
        ValueError: there are no parameters, one comes twice or was made by an operation, or an option is out of range.
    """

    keeps: tuple[str, ...] = ()  # what every state has
    may_keep: tuple[str, ...] = ()  # what it has with some options

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._check_options(defaults)
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = self._ordered(params)
        if not groups:
            raise ValueError("params must hold at least one parameter, got none")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Update further parameters, from the next step on.

        Args:
            param_group: Under ``params`` a parameter or several; and options, where they are not the defaults.

        Raises:
            TypeError, ValueError: as of the class; then nothing was added.
        """
        if not isinstance(param_group, Mapping):
            raise TypeError(f"a group must be a dict with params, got {type(param_group).__name__} beside other groups")
        if "params" not in param_group:
            raise ValueError(f"a group must name its params, got {', '.join(map(str, param_group)) or 'an empty one'}")
        given = param_group["params"]
        group = {**self.defaults, **param_group, "params": [given] if hasattr(given, "grad") else self._ordered(given)}
        self._check_options(group)
        seen = {id(parameter) for other in self.param_groups for parameter in other["params"]}
        for place, parameter in enumerate(group["params"]):
            require_parameter(parameter)
            self._check_array(array_of(parameter))
            if id(parameter) in seen:
                raise ValueError(f"params[{place}] of group {len(self.param_groups)} comes twice in this optimizer")
            seen.add(id(parameter))
        self.param_groups.append(group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: Called first, with gradients recorded; it clears them, computes the loss, goes backward and returns
                the loss.

        Returns:
            What the closure returned; None without one.

        Raises:
            TypeError, ValueError: a gradient is not of its parameter's library or shape; then nothing was updated.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        work = [
            (parameter, *arrays_of(parameter), group)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        with quiet():  # infinities and NaN pass on without a word, as in torch
            for parameter, array, grad, options in work:
                state = self.state[parameter]
                if not state:
                    state.update(self._start(array, options))
                self._update(array, -grad if options.get("maximize") else grad, state, options)
                note_write(parameter)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with zeros, apart from any graph, where ``set_to_none`` is False."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if set_to_none:
                    parameter.grad = None
                    continue
                if hasattr(parameter.grad, "detach"):
                    parameter.grad = parameter.grad.detach()
                array_of(parameter.grad)[...] = 0.0
                note_write(parameter.grad)

    def state_dict(self) -> dict[str, Any]:
        """All but the parameters themselves, which are numbered in the order of the groups; torch's layout.

        Returns:
            ``state``, a dict for each number whose parameter was ever updated, and ``param_groups``, where the numbers
            stand for the parameters. The buffers share memory with the optimizer's.
        """
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        number = {id(parameter): place for place, parameter in enumerate(parameters)}
        groups = [{**group, "params": [number[id(p)] for p in group["params"]]} for group in self.param_groups]
        state = {number[id(parameter)]: dict(kept) for parameter, kept in self.state.items() if kept}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where another optimizer of this kind was, ours or torch's, of parameters of the same shapes.

        Args:
            state_dict: As of :meth:`state_dict`. Buffers are copied, and converted to the parameters' library, dtype
                and device. Options that only torch has stay in the groups and do nothing.

        Raises:
            TypeError: it is no dict.
            ValueError: it is of another layout, of other groups or shapes, or of another optimizer; then nothing was
                loaded.
        """
        check_layout(state_dict, self.param_groups, self.defaults)
        groups = [
            {**saved, "params": own["params"]}
            for saved, own in zip(state_dict["param_groups"], self.param_groups, strict=True)
        ]
        for group in groups:
            self._check_options(group)
        state = place_states(state_dict, self.param_groups, self._kept_shapes, self.may_keep)
        self.state, self.param_groups = defaultdict(dict, state), groups

    def _ordered(self, params: Any) -> list[Any]:
        if isinstance(params, set | frozenset):
            raise TypeError("params must be in an order that lasts, a set has none: use a list")
        if hasattr(params, "data") or isinstance(params, str | Mapping) or not isinstance(params, Iterable):
            raise TypeError(f"params must be a list of parameters or of groups, got {type(params).__name__}")
        return list(params)

    def _buffer(self, state: dict[str, Any], name: str, array: Array) -> Array:
        if name not in state:
            state[name] = namespace(array).zeros_like(array)
        return state[name]

    def _kept_shapes(self, array: Array) -> Shapes:
        """What every state of such a parameter has, with its shape."""
        return {name: () if name == "step" else tuple(array.shape) for name in self.keeps}

    def _start(self, array: Array, options: dict[str, Any]) -> dict[str, Any]:
        xp, kind = namespace(array), {"dtype": array.dtype, "device": device(array)}
        shapes = self._kept_shapes(array)
        return {name: 0 if name == "step" else xp.zeros(shape, **kind) for name, shape in shapes.items()}

    def _check_array(self, array: Array) -> None:
        """Refuse an array that this optimizer has no update for."""

    def _check_options(self, options: dict[str, Any]) -> None:
        """Refuse options that are out of range."""
        raise NotImplementedError

    def _update(self, array: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        """Write one step into ``array`` and ``state``; ``grad`` is left alone."""
        raise NotImplementedError
