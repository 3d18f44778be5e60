"""Recurrent networks by hand: Elman's with tanh, GRU and LSTM, as cells and over time, with torch's names and answers.

What the inputs add to the gates needs no state, so it is one product for all steps; only what the state adds is made
step by step. The cell of one step, called in a loop, is the reference for that.

Unusual: the GRU's reset gate acts on the product with the state, not on the state, as in torch and cuDNN and in the
first version of the paper; its later versions, and the textbooks, multiply the state before the product, which is
another function. Every gate has two biases, as in cuDNN, where one would do. Not here: dropout between layers.

Sources: Elman 1990; Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000 (LSTM); Cho et al. 2014,
arXiv 1406.1078v1 (GRU, reset after the product; v3, section 2.3, before it); torch's documentation of ``nn.GRU``.
Shapes: B sequences, T steps, I width of the input, H of the state, L layers, D directions, K gates, C state tensors.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import require_count

State = tuple[Tensor, ...]
# Of what the inputs add [B, K * H], the state, and the matrix and bias of the state: the next state.
Step = Callable[[Tensor, State, Tensor, Tensor | None], State]


def rnn_step(from_input_BH: Tensor, state: State, weight_hh: Tensor, bias_hh: Tensor | None) -> State:
    """The next state: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), with the first two terms given."""
    (h_BH,) = state
    return (torch.tanh(from_input_BH + F.linear(h_BH, weight_hh, bias_hh)),)


def gru_step(from_input_BG: Tensor, state: State, weight_hh: Tensor, bias_hh: Tensor | None) -> State:
    """Gates reset r, update z, new n, in this order: h' = (1 - z) n + z h, where n = tanh(input + r (W h + b))."""
    (h_BH,) = state
    input_r, input_z, input_n = from_input_BG.chunk(3, dim=-1)
    state_r, state_z, state_n = F.linear(h_BH, weight_hh, bias_hh).chunk(3, dim=-1)
    r, z = torch.sigmoid(input_r + state_r), torch.sigmoid(input_z + state_z)
    n = torch.tanh(input_n + r * state_n)
    return ((1 - z) * n + z * h_BH,)


def lstm_step(from_input_BG: Tensor, state: State, weight_hh: Tensor, bias_hh: Tensor | None) -> State:
    """Cell c' = f c + i g and output h' = o tanh(c'). Gates in the order input i, forget f, candidate g, output o."""
    h_BH, c_BH = state
    i, f, g, o = (from_input_BG + F.linear(h_BH, weight_hh, bias_hh)).chunk(4, dim=-1)
    c_BH = torch.sigmoid(f) * c_BH + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c_BH), c_BH


def recurrent_loop(step: Step, x_TBI: Tensor, state: State, weights: Sequence[Tensor | None]) -> tuple[Tensor, State]:
    """Reference: one step of one layer after another, each with its own product with the input.

    Args:
        step: One of the three above.
        x_TBI: The inputs.
        state: h [B, H], and for the LSTM c [B, H].
        weights: weight_ih [K H, I], weight_hh [K H, H], bias_ih [K H] or None, bias_hh [K H] or None.

    Returns:
        All h, [T, B, H], and the last state.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    assert weight_ih is not None
    assert weight_hh is not None
    outputs = []
    for x_BI in x_TBI:
        state = step(F.linear(x_BI, weight_ih, bias_ih), state, weight_hh, bias_hh)
        outputs.append(state[0])
    return torch.stack(outputs), state


class _Recurrent(nn.Module):
    """Layers of one kind of cell over time; the subclasses say which."""

    step: Step
    gates: int
    states: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        for name in ("input_size", "hidden_size", "num_layers"):
            require_count(name, getattr(self, name))
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.suffixes = [
            f"l{n}{way}" for n in range(num_layers) for way in (["", "_reverse"] if bidirectional else [""])
        ]
        for suffix in self.suffixes:
            first = suffix.startswith("l0")
            width = input_size if first else hidden_size * (1 + bidirectional)
            rows = self.gates * hidden_size
            self.register_parameter(f"weight_ih_{suffix}", nn.Parameter(torch.empty(rows, width)))
            self.register_parameter(f"weight_hh_{suffix}", nn.Parameter(torch.empty(rows, hidden_size)))
            for name in ("bias_ih", "bias_hh"):
                self.register_parameter(f"{name}_{suffix}", nn.Parameter(torch.empty(rows)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all numbers uniformly between ±1 / sqrt(H)."""
        bound = self.hidden_size**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def weights(self, suffix: str) -> list[Tensor | None]:
        """weight_ih, weight_hh, bias_ih and bias_hh of a layer, "l0", or of its way back, "l0_reverse"."""
        return [getattr(self, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def _run(self, x: Tensor, initial: State | None) -> tuple[Tensor, State]:
        """All outputs, as ``x``, and the last states, [L * D, B, H] each."""
        alone = self._check(x, initial)
        x_TBI = x[:, None] if alone else x.transpose(0, 1) if self.batch_first else x
        if initial is None:
            initial = (x_TBI.new_zeros(len(self.suffixes), x_TBI.shape[1], self.hidden_size),) * self.states
        elif alone:
            initial = tuple(one[:, None] for one in initial)
        last: list[State] = []
        directions = 2 if self.bidirectional else 1
        for layer in range(self.num_layers):
            outputs = []
            for index in range(layer * directions, (layer + 1) * directions):
                state = tuple(one[index] for one in initial)
                h_TBH, state = self._over_time(x_TBI, state, self.suffixes[index])
                outputs.append(h_TBH)
                last.append(state)
            x_TBI = torch.cat(outputs, dim=-1) if directions > 1 else outputs[0]
        final = tuple(torch.stack(one) for one in zip(*last, strict=True))
        if alone:
            return x_TBI[:, 0], tuple(one[:, 0] for one in final)
        return x_TBI.transpose(0, 1) if self.batch_first else x_TBI, final

    def _over_time(self, x_TBI: Tensor, state: State, suffix: str) -> tuple[Tensor, State]:
        weight_ih, weight_hh, bias_ih, bias_hh = self.weights(suffix)
        assert weight_ih is not None
        assert weight_hh is not None
        from_input_TBG = F.linear(x_TBI, weight_ih, bias_ih)
        backwards = suffix.endswith("_reverse")
        outputs = []
        for t in reversed(range(len(x_TBI))) if backwards else range(len(x_TBI)):
            state = type(self).step(from_input_TBG[t], state, weight_hh, bias_hh)
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if backwards else outputs), state

    def _check(self, x: Tensor, initial: State | None) -> bool:
        """Whether it is one sequence without an axis of them."""
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size or 0 in x.shape:
            raise ValueError(
                f"x must be a non-empty [T, B, {self.input_size}] or [T, {self.input_size}], got {tuple(x.shape)}"
            )
        dtype = next(self.parameters()).dtype
        if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(f"x must be {dtype}, got {x.dtype}")
        batch = () if x.dim() == 2 else (x.shape[0 if self.batch_first else 1],)
        wanted = (len(self.suffixes), *batch, self.hidden_size)
        for one in initial or ():
            if tuple(one.shape) != wanted:
                raise ValueError(f"the initial state must be {wanted}, got {tuple(one.shape)}")
        return x.dim() == 2


class _WithOneState(_Recurrent):
    states = 1

    def forward(self, x: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All outputs of the last layer, and the last state of every layer.

        Args:
            x: [T, B, I], [B, T, I] with ``batch_first``, or [T, I] of one sequence.
            h_0: [L * D, B, H], or [L * D, H]; zeros if not given. A layer's ways there and back are neighbours.

        Returns:
            [T, B, D * H] as ``x``, and [L * D, B, H].

        Raises:
            TypeError: ``x`` is not of the weights' dtype.
            ValueError: the shapes do not fit, or there is no step.
        """
        out, (h_n,) = self._run(x, None if h_0 is None else (h_0,))
        return out, h_n


class RNN(_WithOneState):
    """``torch.nn.RNN`` with tanh; arguments as in :class:`LSTM`."""

    step, gates = staticmethod(rnn_step), 1


class GRU(_WithOneState):
    """``torch.nn.GRU``; arguments as in :class:`LSTM`."""

    step, gates = staticmethod(gru_step), 3


class LSTM(_Recurrent):
    """``torch.nn.LSTM``.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L; each but the first reads the outputs of the one below.
        bias: Whether there are biases.
        batch_first: Whether the axis of sequences comes before that of steps.
        bidirectional: Whether each layer also reads backwards; outputs are then [..., 2 H], forward first.

    Raises:
        ValueError: a size is not a positive integer.
    """

    step, gates, states = staticmethod(lstm_step), 4, 2

    def forward(self, x: Tensor, initial: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As :meth:`GRU.forward`, with two states, h and c, before and after.

        Raises:
            TypeError: ``x`` is not of the weights' dtype, or the initial state is not two tensors.
            ValueError: the shapes do not fit, or there is no step.
        """
        if initial is not None and not (isinstance(initial, tuple | list) and len(initial) == 2):
            raise TypeError(f"initial must be two tensors, h and c, got {type(initial).__name__}")
        out, (h_n, c_n) = self._run(x, None if initial is None else tuple(initial))
        return out, (h_n, c_n)
