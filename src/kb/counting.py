"""Counts what matrix products and attention do: floating-point operations, and bytes read and written.

Unusual: torch's own ``FlopCounterMode`` gives 0 for the CPU's fused attention kernel (torch 2.13), so attention is
counted here from the shapes that the kernel was called with, on every device alike. As there, a causal product counts
as the full square, T × S pairs, of which fast kernels skip up to half. Elementwise work is left out: it is small, and
good kernels fuse it away.

Bytes are the least possible: in each product every operand is read once and the result written once, and nothing stays
on the chip between products.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "addbmm", "linear", "matmul", "mv", "dot", "vdot", "addmv")
_ATTENTION = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)


# Several products in one operator, which torch's FlopCounterMode counts as none: refused rather than missed.
_WHOLE_LAYERS = ("_native_multi_head_attention", "_transformer_encoder_layer_fwd", "mkldnn_rnn_layer", "_cudnn_rnn")


@dataclass(frozen=True)
class Work:
    """Floating-point operations (a multiply-add is two) and bytes moved."""

    flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """Arithmetic intensity in FLOPs per byte; infinite where nothing moves."""
        return self.flops / self.bytes if self.bytes else math.inf


def count(work: Callable[[], object]) -> Work:
    """Run ``work`` once and count its matrix products and attention; gradients, if it takes any, included.

    The backward pass of a fused attention kernel is not counted, that of matrix products is.

    Raises:
        NotImplementedError: a whole layer ran as one operator, such as torch.nn.MultiheadAttention in inference or
            torch.nn.LSTM; with gradients enabled, attention runs as products that can be counted.
    """
    with _Counter() as counter:
        work()
    return Work(counter.flops, counter.bytes)


@dataclass(frozen=True)
class Operators:
    """What was called, apart from what only looks at memory in another way (views) or sets it aside.

    Args:
        calls: How often each operator was called; on a GPU each is a kernel at least.
        largest: Numbers in the largest tensor that one of them put out.
    """

    calls: Counter[str]
    largest: int


def operators(work: Callable[[], object]) -> Operators:
    """Run ``work`` once and write down its operators, as torch's dispatcher sees them."""
    with _Watcher() as watcher:
        work()
    return Operators(+watcher.calls, watcher.largest)


class _Watcher(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.largest = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operator.overloadpacket.__name__
        # In inference mode einsum and its kin arrive whole, as in _Counter.
        with self:
            parts = operator.decompose(*args, **(kwargs or {}))
        if parts is not NotImplemented:
            return parts
        result = operator(*args, **(kwargs or {}))
        aliases = [one.alias_info for one in operator._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in aliases)
        if not is_view:
            self.calls[name] += not name.startswith(("empty", "new_empty"))
            outputs = result if isinstance(result, tuple | list) else (result,)
            self.largest = max([self.largest, *(one.numel() for one in outputs if isinstance(one, Tensor))])
        return result


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.bytes = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operator.overloadpacket.__name__.rstrip("_")  # mm_ is mm in place
        if name in _WHOLE_LAYERS:
            raise NotImplementedError(f"{name} does the products of a whole layer at once, and they cannot be counted")
        counted = name in _PRODUCTS or name in _ATTENTION
        if not counted:
            # In inference mode einsum and its kin arrive whole: take them apart to see their products.
            with self:
                parts = operator.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        result = operator(*args, **(kwargs or {}))
        if counted:
            operands = [value for value in args if isinstance(value, Tensor)]
            output = result[0] if isinstance(result, tuple) else result
            if name in _ATTENTION:
                operands = operands[:3]  # a mask is made, not fetched
                self.flops += _attention_flops(operands[0], operands[1], output)
            else:
                self.flops += _product_flops(name, operands, output)
            self.bytes += sum(operand.numel() * operand.element_size() for operand in operands)
            self.bytes += output.numel() * output.element_size()
        return result


def _product_flops(name: str, operands: list[Tensor], output: Tensor) -> int:
    # The first factor's last axis is what is summed over; in addmm and its kin, an addend comes before it.
    first = operands[1] if name in ("addmm", "baddbmm", "addbmm", "addmv") else operands[0]
    batches = len(first) if name == "addbmm" else 1  # its products are summed into one
    return 2 * output.numel() * first.shape[-1] * batches


def _attention_flops(q_BNTH: Tensor, k_BGSH: Tensor, output_BNTV: Tensor) -> int:
    # q · k and weights · v: 2 B N T S for each feature of a query, and of a value.
    return 2 * (q_BNTH.numel() + output_BNTV.numel()) * k_BGSH.shape[-2]
