"""Time of one layer over a sequence, forward and backward, and of one more token: attention, GRU, dilated convolutions.

All of one width. Attention is causal with its four projections, by torch's fused kernel; the GRU is torch's own,
cuDNN's on a GPU, and beside it ours, a loop in Python; the convolutions are a stack just deep enough to see the whole
sequence, without residuals. The answers of the two sides that have a second form are compared before anything is timed.

Unusual: the loop is timed up to ``LONGEST_LOOP`` only, as it costs a hundred launches a step. One more token is without
gradients; what is kept of the past is there already and is not copied.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measurement import Measurement, Samples
from kb import timing
from kb.lm.sequence_layers import convolution_stack_cost, exponential_dilations, recurrence_cost, self_attention_cost
from kb.nn import GRU, MultiHeadAttention, causal_convolution

WIDTH, HEADS, BATCH, KERNEL = 256, 4, 4, 4
LENGTHS = {"cpu": (128, 512, 2048), "cuda": (128, 512, 2048, 4096, 8192, 16_384)}
LONGEST_LOOP = 2048
DTYPES = {"cpu": torch.float32, "cuda": torch.float16}  # cuDNN's GRU may not take bfloat16
ROUNDS = 7
BOUND = 2**-6  # of the largest magnitude, in float16

Run = Callable[[], Any]


class Layers:
    """One of each, with its inputs, on a device."""

    def __init__(self, length: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.length, self.dtype = length, DTYPES[device.type]
        place: dict[str, Any] = {"device": device, "dtype": self.dtype}
        self.x_BTD = torch.randn(BATCH, length, WIDTH, **place, requires_grad=True)
        self.upstream_BTD = torch.randn(BATCH, length, WIDTH, **place)
        self.attention = MultiHeadAttention(WIDTH, HEADS, batch_first=True, **place)
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True, **place)
        self.loop = GRU(WIDTH, WIDTH, batch_first=True).to(**place)
        self.loop.load_state_dict(self.gru.state_dict())
        self.dilations = exponential_dilations(length, KERNEL)
        self.layers = [nn.Conv1d(WIDTH, WIDTH, KERNEL, dilation=one, **place) for one in self.dilations]
        self.stack = nn.ModuleList(self.layers)

    def attend(self) -> Tensor:
        """Causal self-attention, all tokens."""
        q_BTNH, k_BTNH, v_BTNH = self.attention.project(self.x_BTD, self.x_BTD, self.x_BTD)
        q, k, v = (one.transpose(1, 2) for one in (q_BTNH, k_BTNH, v_BTNH))
        mixed_BNTH = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.attention.out_proj(mixed_BNTH.transpose(1, 2).flatten(2))
        return out

    def convolve(self) -> Tensor:
        """The stack, all tokens."""
        y_BDT = self.x_BTD.transpose(1, 2)
        for layer in self.layers:
            y_BDT = torch.relu(layer(F.pad(y_BDT, ((KERNEL - 1) * layer.dilation[0], 0))))
        return y_BDT.transpose(1, 2)

    def whole(self) -> dict[str, Run]:
        """Forward and backward over the sequence, by contender."""
        made: dict[str, tuple[Callable[[], Tensor], nn.Module]] = {
            "attention": (self.attend, self.attention),
            "GRU": (lambda: self.gru(self.x_BTD)[0], self.gru),
            "convolutions": (self.convolve, self.stack),
        }
        if self.length <= LONGEST_LOOP:
            made["GRU, loop"] = (lambda: self.loop(self.x_BTD)[0], self.loop)
        return {name: self._with_gradients(forward, module) for name, (forward, module) in made.items()}

    def one_more(self) -> dict[str, Run]:
        """One more token after so many, without gradients, by contender."""
        with torch.no_grad():
            _, k_BTNH, v_BTNH = self.attention.project(self.x_BTD, self.x_BTD, self.x_BTD)
        k, v = (one.transpose(1, 2).contiguous() for one in (k_BTNH, v_BTNH))
        x_B1D = self.x_BTD[:, -1:].detach()
        state_LBD = torch.randn(1, BATCH, WIDTH, device=x_B1D.device, dtype=self.dtype)
        windows = [torch.randn(BATCH, WIDTH * KERNEL, device=x_B1D.device, dtype=self.dtype) for _ in self.layers]

        def attention() -> Tensor:
            q_B1NH, _, _ = self.attention.project(x_B1D, x_B1D, x_B1D)
            mixed_BN1H = F.scaled_dot_product_attention(q_B1NH.transpose(1, 2), k, v)
            out: Tensor = self.attention.out_proj(mixed_BN1H.transpose(1, 2).flatten(2))
            return out

        def convolutions() -> list[Tensor]:
            return [
                torch.relu(F.linear(window, layer.weight.flatten(1), layer.bias))
                for window, layer in zip(windows, self.layers, strict=True)
            ]

        runs: dict[str, Run] = {
            "attention": attention,
            "GRU": lambda: self.gru(x_B1D, state_LBD),
            "convolutions": convolutions,
        }
        return {name: torch.no_grad()(run) for name, run in runs.items()}

    def require_equal(self) -> None:
        """The GRU is the loop's, and a convolution is that of ``kb.nn``."""
        layer, x_BDT = self.layers[0], self.x_BTD.transpose(1, 2)
        padded = layer(F.pad(x_BDT, (KERNEL - 1, 0)))
        pairs = [
            (self.gru(self.x_BTD)[0], self.loop(self.x_BTD)[0]),
            (padded, causal_convolution(x_BDT, layer.weight, layer.bias)),
        ]
        for a, b in pairs:
            error = float((a - b).detach().abs().max() / b.detach().abs().max())
            assert error <= BOUND, f"the two forms differ by {error:.2g} of the largest magnitude"

    def _with_gradients(self, forward: Callable[[], Tensor], module: nn.Module) -> Run:
        inputs = (self.x_BTD, *module.parameters())
        return lambda: torch.autograd.grad(forward(), inputs, self.upstream_BTD)


def timed(runs: dict[str, Run], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Milliseconds of each run, in turn; each sample the mean of so many, and the first round not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):
        for name, run in runs.items():
            taken = timing.seconds(lambda run=run: [run() for _ in range(repeats)], where=device)  # type: ignore[misc]
            if round_:
                times[name].append(1e3 * taken / repeats)
    return times


def measure(device: torch.device) -> Measurement:
    """Assert that the recurrence is slower than attention at 512 tokens, and one more token after many is not."""
    lengths = LENGTHS[device.type]
    samples: dict[str, Samples] = {}
    flops: dict[str, dict[str, int]] = {}
    Layers(lengths[0], device).require_equal()
    for length in lengths:
        layers = Layers(length, device)
        for what, runs, repeats in (("layer", layers.whole(), 3), ("one more", layers.one_more(), 20)):
            for name, values in timed(runs, repeats, device).items():
                samples[f"{name}, {what}, {length}"] = Samples("ms", values)
                print(f"{name}, {what}, {length}: {sorted(values)[ROUNDS // 2]:.3f} ms", file=sys.stderr)
        flops[str(length)] = {
            "attention": BATCH * self_attention_cost(length, WIDTH).flops,
            "GRU": BATCH * recurrence_cost(length, WIDTH).flops,
            "convolutions": BATCH * convolution_stack_cost(length, WIDTH, kernel=KERNEL).flops,
        }
    slower = min(samples["GRU, layer, 512"].values) / max(samples["attention, layer, 512"].values)
    assert slower > 1, f"the GRU takes {slower:.2f} of attention's time at 512 tokens, wanted more than 1"
    return Measurement(
        title=f"One layer of width {WIDTH}, forward and backward, and one more token, by length",
        method=f"{ROUNDS} rounds, all contenders in turn, {BATCH} sequences, {DTYPES[device.type]}; attention with "
        f"{HEADS} heads, causal, fused; convolutions of kernel {KERNEL}, as many as see the whole sequence",
        samples=samples,
        ratios={f"GRU / attention, layer, {n}": (f"GRU, layer, {n}", f"attention, layer, {n}") for n in lengths},
        facts={
            "lengths": list(lengths),
            "longest of the loop": LONGEST_LOOP,
            "width": WIDTH,
            "batch": BATCH,
            "kernel": KERNEL,
            "FLOPs of the forward pass": flops,
        },
    )
