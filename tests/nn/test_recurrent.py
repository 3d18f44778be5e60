"""RNN, GRU and LSTM: loop = ours = torch's, in outputs, last states and gradients, with torch's state."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.nn import GRU, LSTM, RNN, gru_step, lstm_step, recurrent_loop, rnn_step

KINDS = {"RNN": (RNN, rnn_step), "GRU": (GRU, gru_step), "LSTM": (LSTM, lstm_step)}
CELLS = {"RNN": torch.nn.RNNCell, "GRU": torch.nn.GRUCell, "LSTM": torch.nn.LSTMCell}
kinds = pytest.mark.parametrize("kind", KINDS)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def flat(result: Any) -> list[Tensor]:
    """The output and the last states of a module's call."""
    out, last = result
    return [out, *(last if isinstance(last, tuple) else (last,))]


def assert_same(ours: Any, theirs: Any, inputs: list[Tensor], results: list[list[Tensor]]) -> None:
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    gradients = []
    for model, result in zip((ours, theirs), results, strict=True):
        loss = sum((one * draw(*one.shape, seed=9).detach()).sum() for one in result)
        gradients.append(torch.autograd.grad(loss, [*inputs, *model.parameters()]))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@settings(max_examples=25)
@given(
    kind=st.sampled_from(list(KINDS)),
    B=st.sampled_from([None, 1, 3]),
    T=st.integers(1, 4),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    options=st.fixed_dictionaries(
        {
            "num_layers": st.integers(1, 2),
            "bias": st.booleans(),
            "batch_first": st.booleans(),
            "bidirectional": st.booleans(),
        }
    ),
    starts=st.booleans(),
)
def test_equals_torch_in_outputs_states_and_gradients(
    kind: str, B: int | None, T: int, sizes: tuple[int, int], options: dict[str, Any], starts: bool
) -> None:
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(*sizes, **options).double()
    ours = KINDS[kind][0](*sizes, **options).double()
    ours.load_state_dict(theirs.state_dict())
    batch = [] if B is None else [B]
    inputs = [draw(*([*batch, T] if options["batch_first"] else [T, *batch]), sizes[0])]
    rows = options["num_layers"] * (1 + options["bidirectional"])
    states = [draw(rows, *batch, sizes[1], seed=s) for s in range(2 if kind == "LSTM" else 1)] if starts else []
    initial = [] if not starts else [tuple(states)] if kind == "LSTM" else states
    results = [flat(model(*inputs, *initial)) for model in (ours, theirs)]
    assert_same(ours, theirs, [*inputs, *states], results)


@kinds
def test_the_loop_of_cells_equals_the_module_and_one_step_equals_the_cell_of_torch(kind: str) -> None:
    module, step = KINDS[kind][0](3, 4).double(), KINDS[kind][1]
    x = draw(5, 2, 3)
    states = tuple(draw(2, 4, seed=s) for s in range(module.states))
    out, last = recurrent_loop(step, x, states, module.weights("l0"))
    initial = tuple(one[None] for one in states)
    ours = flat(module(x, initial if kind == "LSTM" else initial[0]))
    for a, b in zip([out, *last], [ours[0], *(one[0] for one in ours[1:])], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    cell = CELLS[kind](3, 4).double()
    cell.load_state_dict({name.removesuffix("_l0"): tensor for name, tensor in module.state_dict().items()})
    theirs = cell(x[0], states if kind == "LSTM" else states[0])
    torch.testing.assert_close(out[0], theirs[0] if kind == "LSTM" else theirs, rtol=1e-12, atol=1e-12)


@kinds
def test_initial_values_are_those_of_torch_after_the_same_seed(kind: str) -> None:
    states = []
    for make in (KINDS[kind][0], getattr(torch.nn, kind)):
        torch.manual_seed(3)
        states.append(make(3, 4, 2, bidirectional=True).state_dict())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_one_step_by_hand() -> None:
    zero = torch.zeros(1, 1, dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    (h,) = rnn_step(torch.full_like(one, 0.5), (one,), 2 * one, None)
    assert h.item() == pytest.approx(math.tanh(2.5))
    # Gates of the inputs alone: forget and output open, input shut; the cell stays 3.
    h, c = lstm_step(
        torch.tensor([[-50.0, 50.0, 1.0, 50.0]], dtype=torch.float64), (zero, 3 * one), zero.expand(4, 1), None
    )
    assert (h.item(), c.item()) == pytest.approx((math.tanh(3), 3))
    # Update gate open: the old state stays; shut, with the reset gate shut: what the input says.
    gates = torch.tensor([[-50.0, 50.0, 1.0], [-50.0, -50.0, 1.0]], dtype=torch.float64)
    (h,) = gru_step(gates, (torch.full((2, 1), 0.7, dtype=torch.float64),), zero.expand(3, 1), None)
    assert h.flatten().tolist() == pytest.approx([0.7, math.tanh(1)])


def test_the_reset_gate_of_torch_acts_after_the_product_which_is_another_function() -> None:
    torch.manual_seed(0)
    cell = torch.nn.GRUCell(2, 3).double()
    x, h = draw(1, 2).detach(), draw(1, 3, seed=1).detach()
    from_input = x @ cell.weight_ih.T + cell.bias_ih
    (after,) = gru_step(from_input, (h,), cell.weight_hh, cell.bias_hh)
    torch.testing.assert_close(after, cell(x, h))
    (i_r, i_z, i_n), (w_r, w_z, w_n), (b_r, b_z, b_n) = (
        from_input.chunk(3, 1),
        cell.weight_hh.chunk(3),
        cell.bias_hh.chunk(3),
    )
    r, z = torch.sigmoid(i_r + h @ w_r.T + b_r), torch.sigmoid(i_z + h @ w_z.T + b_z)
    before = (1 - z) * torch.tanh(i_n + (r * h) @ w_n.T + b_n) + z * h
    assert (after - before).abs().max() > 1e-2


@kinds
@settings(max_examples=6)
@given(parts=st.lists(st.integers(1, 3), min_size=2, max_size=4))
def test_going_on_from_the_last_state_equals_one_run(kind: str, parts: list[int]) -> None:
    module, x = KINDS[kind][0](2, 3, 2).double(), draw(sum(parts), 2, 2)
    whole, outs, last = module(x)[0], [], None
    for part in x.split(parts):
        out, last = module(part, last)
        outs.append(out)
    torch.testing.assert_close(torch.cat(outs), whole, rtol=1e-12, atol=1e-12)


@kinds
def test_refuses_bad_input(kind: str) -> None:
    make = KINDS[kind][0]
    for options in ({"input_size": 0}, {"hidden_size": 1.5}, {"num_layers": True}):
        with pytest.raises(ValueError, match=next(iter(options))):
            make(**{"input_size": 2, "hidden_size": 3, **options})
    module = make(2, 3)
    for shape in ((4, 1, 3), (4,), (0, 1, 2), (4, 0, 2)):
        with pytest.raises(ValueError, match="x must be"):
            module(torch.ones(shape))
    with pytest.raises(TypeError, match="x must be"):
        module(torch.ones(4, 1, 2, dtype=torch.float64))
    state = torch.ones(1, 2, 3)
    with pytest.raises(ValueError, match="initial state"):
        module(torch.ones(4, 1, 2), (state, state) if kind == "LSTM" else state)


def test_an_lstm_wants_two_states() -> None:
    with pytest.raises(TypeError, match="initial"):
        LSTM(2, 3)(torch.ones(4, 1, 2), torch.ones(1, 1, 3))
