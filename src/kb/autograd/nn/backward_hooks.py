"""The backward hooks of one call of a module: from the gradients of its outputs to those of its inputs.

Unusual: a hook wants the gradients of all inputs at once, and a node knows only its own. So every input passes two
nodes that change nothing. All of the newer ones are walked before the first of the older ones, so that what the newer
ones collect is complete when the older ones hand it on.

Source: torch's documentation of ``torch.nn.Module.register_full_backward_hook``, for order and meaning.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from kb.autograd import backend, ops
from kb.autograd.tape import Variable

Gradients = tuple[Any, ...]


class Watch:
    """One call of a module; :meth:`inputs` comes before its ``forward``, :meth:`outputs` after it."""

    def __init__(self, module: Any, hooks: tuple[Callable[..., Any], ...]) -> None:
        self.module, self.hooks = module, hooks
        self.has_inputs = False  # that require a gradient
        self.zeros: tuple[Callable[[], Any] | None, ...] = ()  # in the place of gradients of inputs that did not come
        self.of_outputs: Gradients | None = None

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, whose gradients are waited for."""
        self.has_inputs = any(map(_has_gradient, args))
        self.zeros = tuple(_zeros(one) if isinstance(one, Variable) and self.has_inputs else None for one in args)
        return _joined(args, self._at_inputs)

    def outputs(self, out: Any) -> Any:
        """The output, whose gradients are waited for.

        Raises:
            TypeError: it is neither a tensor nor a tuple.
        """
        if not isinstance(out, tuple | Variable):
            raise TypeError(f"a module with backward hooks must give a tensor or a tuple, got {type(out).__name__}")
        return _joined(out, self._at_outputs) if isinstance(out, tuple) else _joined((out,), self._at_outputs)[0]

    def _at_outputs(self, gradients: Gradients) -> Gradients:
        if self.has_inputs:
            self.of_outputs = gradients
        elif any(one is not None for one in self._through((None,) * len(self.zeros), gradients)):
            raise ValueError("a backward hook must give None where no input of the module requires a gradient")
        return gradients

    def _at_inputs(self, gradients: Gradients) -> Gradients:
        of_outputs, self.of_outputs = self.of_outputs, None
        if of_outputs is None:  # they came past the outputs, as gradients of gradients do
            return gradients
        filled = zip(gradients, self.zeros, strict=True)
        return self._through(tuple(make() if one is None and make else one for one, make in filled), of_outputs)

    def _through(self, gradients: Gradients, of_outputs: Gradients) -> Gradients:
        for hook in self.hooks:
            changed = hook(self.module, gradients, of_outputs)
            if changed is not None:
                if not isinstance(changed, tuple) or len(changed) != len(gradients):
                    raise ValueError(f"a backward hook must give None or a tuple of {len(gradients)}, got {changed!r}")
                gradients = changed
        return gradients


def _joined(values: tuple[Any, ...], act: Callable[[Gradients], Gradients]) -> tuple[Any, ...]:
    """The same values; ``act`` is called once a walk with the gradients that came, and gives those that go on.

    For both, None is no gradient.
    """
    count = len(values)
    collected: dict[int, Any] = {}
    given: dict[int, Any] = {}

    def collect(place: int, gradient: Any) -> None:
        collected[place] = gradient

    def hand_on(place: int, gradient: Any) -> Any:
        if collected:  # the first one of this walk
            known = tuple(map(collected.get, range(count)))
            collected.clear()
            given.update(enumerate(act(known)))
        changed = given.pop(place)
        return _zeros(gradient)() if changed is None else changed

    out, places = list(values), [place for place, value in enumerate(values) if _has_gradient(value)]
    for hook in (hand_on, collect):  # the older nodes, then the newer ones
        for place in places:
            out[place] = ops.reshape(out[place], to=tuple(out[place].shape))
            out[place].register_hook(partial(hook, place))
    return tuple(out)


def _has_gradient(value: Any) -> bool:
    return isinstance(value, Variable) and value.requires_grad


def _zeros(like: Variable) -> Callable[[], Any]:
    """A function that makes zeros, and holds no numbers until then."""
    array, kind = like.data, like.result_type
    make = partial(backend.namespace(array).zeros, tuple(array.shape), dtype=array.dtype, device=backend.device(array))
    return lambda: kind(make())
