"""What is called around a module: before its ``forward``, after it, and when gradients have come back through it.

Unusual: arguments given by name pass by the hooks unseen, as they do in torch where nothing else is asked for.

Source: torch's documentation of ``torch.nn.Module``, for names, order and meaning.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from kb.autograd.nn.backward_hooks import Watch
from kb.autograd.recording import is_grad_enabled
from kb.autograd.tensor import Handle

Hook = Callable[..., Any]


class Hooks(NamedTuple):
    """Of one module, each list in the order of the calls."""

    before: list[Hook]
    after: list[Hook]
    backward: list[Hook]


class Hooked:
    """What takes hooks: a module, which has ``forward``."""

    _hooks: Hooks | None = None

    def register_forward_pre_hook(self, hook: Hook, *, prepend: bool = False) -> Handle:
        """Have ``hook(module, args)`` called before :meth:`forward`.

        Args:
            hook: May give other arguments, a tuple of them or a single one; None keeps what there is.
            prepend: Whether it is called before the hooks that are there, not after them.

        Returns:
            A handle, whose ``remove()`` takes the hook away.

        Raises:
            TypeError: the hook cannot be called.
        """
        return _put(self._own_hooks().before, hook, prepend)

    def register_forward_hook(self, hook: Hook, *, prepend: bool = False) -> Handle:
        """Have ``hook(module, args, output)`` called after :meth:`forward`.

        Args:
            hook: May give another output; None keeps what there is.
            prepend: As of :meth:`register_forward_pre_hook`, as are what is returned and raised.
        """
        return _put(self._own_hooks().after, hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Have ``hook(module, grad_input, grad_output)`` called when the gradients of a call's inputs are known.

        Both are tuples, one for each argument without a name and for each output, with None for what requires no
        gradient. Where no input requires one, it is called when those of the outputs are known.

        Args:
            hook: May give a tuple to go on in the place of ``grad_input``; None keeps what there is.
            prepend: As of :meth:`register_forward_pre_hook`, as are what is returned and raised.
        """
        return _put(self._own_hooks().backward, hook, prepend)

    def _own_hooks(self) -> Hooks:
        if self._hooks is None:
            self._hooks = Hooks([], [], [])
        return self._hooks


def call_with_hooks(module: Any, hooks: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What ``forward`` gives, with the hooks called.

    Raises:
        TypeError: there are backward hooks, and the output is neither a tensor nor a tuple.
    """
    for hook in list(hooks.before):
        changed = hook(module, args)
        if changed is not None:
            args = changed if isinstance(changed, tuple) else (changed,)
    watch = Watch(module, tuple(hooks.backward)) if hooks.backward and is_grad_enabled() else None
    if watch is not None:
        args = watch.inputs(args)
    out = module.forward(*args, **kwargs)
    for hook in list(hooks.after):
        changed = hook(module, args, out)
        out = out if changed is None else changed
    return out if watch is None else watch.outputs(out)


def _put(hooks: list[Hook], hook: Hook, prepend: bool) -> Handle:
    if not callable(hook):
        raise TypeError(f"hook must be a function, got {type(hook).__name__}")
    call = partial(hook)  # another object each time, so that a handle finds its own among several of one function
    hooks.insert(0 if prepend else len(hooks), call)
    return Handle(hooks, call)
