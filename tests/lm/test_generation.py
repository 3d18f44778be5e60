"""Generation: greedy tokens are transformers', and a KV cache changes none of them."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.lm import GREEDY, KVCache, SamplingParams, generate

SAMPLED = SamplingParams(temperature=0.8, top_k=20, top_p=0.9, min_p=0.01, repetition_penalty=1.2)


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "smollm3"])
@pytest.mark.parametrize(("B", "T"), [(1, 1), (1, 20), (3, 7)])
def test_greedy_tokens_are_transformers(kind: str, B: int, T: int, make_pair: Any) -> None:
    pair = make_pair(kind)
    tokens = pair.tokens(B, T)
    theirs = pair.theirs.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=12, do_sample=False)
    for use_cache in (True, False):
        assert torch.equal(generate(pair.ours, tokens, 12, use_cache=use_cache), theirs)


@settings(max_examples=25)
@given(
    B=st.integers(1, 3),
    T=st.integers(1, 30),
    new=st.integers(1, 12),
    sampling=st.sampled_from([GREEDY, SAMPLED, SamplingParams()]),
    seed=st.integers(0, 2**31),
)
def test_cached_equals_uncached(tiny: Any, B: int, T: int, new: int, sampling: SamplingParams, seed: int) -> None:
    tokens = tiny.tokens(B, T, seed)
    runs = [
        generate(
            tiny.ours,
            tokens,
            new,
            use_cache=use_cache,
            sampling=sampling,
            generator=torch.Generator().manual_seed(seed),
        )
        for use_cache in (True, False)
    ]
    assert torch.equal(*runs)
    assert runs[0].shape == (B, T + new)
    assert torch.equal(runs[0][:, :T], tokens)


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, 6), min_size=1, max_size=6), seed=st.integers(0, 2**31))
def test_any_split_into_chunks_gives_the_same_logits(tiny: Any, cuts: list[int], seed: int) -> None:
    tokens = tiny.tokens(2, sum(cuts), seed)
    cache = KVCache(tiny.ours.config, batch=2, capacity=sum(cuts))
    with torch.no_grad():
        whole = tiny.ours(tokens)
        parts = torch.cat([tiny.ours(chunk, cache=cache) for chunk in tokens.split(cuts, dim=1)], dim=1)
    assert cache.length == sum(cuts)
    assert float((parts - whole).abs().max()) <= 1e-5 * float(whole.abs().max())


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "smollm3"])
def test_windows_and_layers_without_positions_work_with_a_cache(kind: str, make_pair: Any) -> None:
    options = {"sliding_window": 4} | (
        {} if kind == "mistral" else {"use_sliding_window": True, "max_window_layers": 1}
    )
    pair = make_pair(kind, **options)
    tokens = pair.tokens(2, 9)
    assert torch.equal(generate(pair.ours, tokens, 10), generate(pair.ours, tokens, 10, use_cache=False))


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "dynamic", "factor": 4.0},
        {
            "rope_type": "longrope",
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "short_factor": [1.0, 1.1, 1.2, 1.3],
            "long_factor": [2.0, 3.0, 4.0, 5.0],
        },
    ],
    ids=lambda scaling: str(scaling["rope_type"]),
)
def test_angles_that_change_with_length_follow_transformers_cache(scaling: dict[str, Any], make_pair: Any) -> None:
    # Keys already cached keep the angles they were given: in transformers as here, so uncached may differ.
    pair = make_pair("llama", rope_parameters={"rope_theta": 1e4, **scaling}, max_position_embeddings=16)
    tokens = pair.tokens(1, 12)
    theirs = pair.theirs.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=4, do_sample=False)
    assert torch.equal(generate(pair.ours, tokens, 4), theirs)


def test_a_row_does_not_depend_on_its_neighbours(tiny: Any) -> None:
    tokens = tiny.tokens(3, 5)
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8, 9)]
    together = generate(tiny.ours, tokens, 8, sampling=SAMPLED, generator=generators)
    for row, seed in enumerate((7, 8, 9)):
        alone = generate(tiny.ours, tokens[row], 8, sampling=SAMPLED, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(alone, together[row])


def test_stop_ids_end_a_row_and_fill_it(tiny: Any) -> None:
    tokens = tiny.tokens(3, 5)
    free = generate(tiny.ours, tokens, 10, stop_ids=())
    stop = int(free[0, 7])  # the third new token of row 0
    stopped = generate(tiny.ours, tokens, 10, stop_ids=[stop])
    for row in range(3):
        hits = (free[row, 5:] == stop).nonzero()
        end = 5 + int(hits[0]) if len(hits) else free.shape[1]
        assert torch.equal(stopped[row, : end + 1], free[row, : min(end + 1, stopped.shape[1])])
        assert (stopped[row, end:] == stop).all()
    alone = generate(tiny.ours, tokens[0], 10, stop_ids=[stop])
    assert int(alone[-1]) == stop
    assert stop not in alone[5:-1]


def test_end_of_sequence_ids_of_the_configuration_are_the_default(make_pair: Any) -> None:
    plain = make_pair("llama")
    free = generate(plain.ours, plain.tokens(1, 4)[0], 6, stop_ids=())
    pair = make_pair("llama", eos_token_id=[int(free[5]), 60])
    ended = generate(pair.ours, plain.tokens(1, 4)[0], 6)
    assert int(ended[-1]) in pair.ours.config.eos_ids
    assert torch.equal(ended, free[: len(ended)])
    assert len(ended) <= 6


def test_takes_lists_and_gives_back_the_shape_of_the_prompt(tiny: Any) -> None:
    assert generate(tiny.ours, [1, 2, 3], 2).shape == (5,)
    assert generate(tiny.ours, [[1, 2], [3, 4]], 2).shape == (2, 4)
    assert torch.equal(generate(tiny.ours, [1, 2, 3], 2), generate(tiny.ours, torch.tensor([[1, 2, 3]]), 2)[0])


def test_same_seed_same_tokens_other_seed_other_tokens(tiny: Any) -> None:
    def run(seed: int) -> torch.Tensor:
        return generate(
            tiny.ours, [1, 2, 3], 20, sampling=SamplingParams(), generator=torch.Generator().manual_seed(seed)
        )

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


@pytest.mark.parametrize(
    ("tokens", "new", "options", "error", "message"),
    [
        ([], 3, {}, ValueError, "non-empty"),
        ([[]], 3, {}, ValueError, "non-empty"),
        ([[1, 2], [3]], 3, {}, ValueError, "one length"),
        ("hello", 3, {}, ValueError, "tokens must be"),
        ([1.5, 2.0], 3, {}, TypeError, "integer"),
        ([True, False], 3, {}, TypeError, "integer"),
        ([1, 61], 3, {}, ValueError, "0 to 60, got 61"),
        ([-1, 3], 3, {}, ValueError, "got -1"),
        ([[[1]]], 3, {}, ValueError, "non-empty"),
        ([1], 0, {}, ValueError, "max_new_tokens"),
        ([1], -2, {}, ValueError, "max_new_tokens"),
        ([1], 2.0, {}, ValueError, "max_new_tokens"),
        ([1], True, {}, ValueError, "max_new_tokens"),
        ([1] * 100, 29, {}, ValueError, "context of 128"),
        ([1], 3, {"sampling": SamplingParams()}, ValueError, "needs a generator"),
        (
            [[1], [2]],
            3,
            {"sampling": SamplingParams(), "generator": [torch.Generator()]},
            ValueError,
            "one generator or 2",
        ),
        ([1], 3, {"stop_ids": [99]}, ValueError, "stop_ids"),
        ([1], 3, {"stop_ids": [1.5]}, TypeError, "stop_ids"),
        ([1], 3, {"stop_ids": [True]}, TypeError, "stop_ids"),
        ([1], 3, {"stop_ids": 5}, TypeError, "stop_ids must be a sequence"),
        ([1], 3, {"sampling": None}, TypeError, "SamplingParams, got NoneType"),
        ([1], 3, {"sampling": SamplingParams(), "generator": 5}, TypeError, "Generator.*got int"),
        ([1], 3, {"sampling": SamplingParams(), "generator": [5]}, TypeError, "Generator"),
        (None, 3, {}, ValueError, "tokens must be"),
        ([2**70], 3, {}, ValueError, "tokens must be"),
    ],
)
def test_refuses_bad_input(
    tiny: Any, tokens: Any, new: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        generate(tiny.ours, tokens, new, **options)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int16, np.int64])
def test_takes_integers_of_every_width(tiny: Any, dtype: Any) -> None:
    assert torch.equal(generate(tiny.ours, np.array([1, 2, 3], dtype), 2), generate(tiny.ours, [1, 2, 3], 2))


@pytest.mark.parametrize("scaling", ["yarn", "linear"])
def test_a_stretched_context_is_used(scaling: str, make_pair: Any) -> None:
    rope = {"rope_type": scaling, "rope_theta": 1e4, "factor": 4.0}
    rope |= {"original_max_position_embeddings": 16} if scaling == "yarn" else {}
    pair = make_pair("qwen2", max_position_embeddings=16, rope_parameters=rope)
    tokens = pair.tokens(1, 40)
    theirs = pair.theirs.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=20, do_sample=False)
    for use_cache in (True, False):
        assert torch.equal(generate(pair.ours, tokens, 20, use_cache=use_cache), theirs)
    with pytest.raises(ValueError, match="context of 64"):
        generate(pair.ours, tokens, 25)


def test_the_tokens_may_be_trained_on(make_pair: Any) -> None:
    model = make_pair("llama").ours.requires_grad_(True)
    written = generate(model, [[1, 2]], 3)
    F.cross_entropy(model(written[:, :-1])[0], written[0, 1:]).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("sampling", [GREEDY, SamplingParams()])
def test_logits_that_are_not_finite_are_refused(sampling: SamplingParams, make_pair: Any) -> None:
    model = make_pair("llama").ours
    model.norm.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="logits of row 0 hold NaN"):
        generate(model, [1, 2], 3, sampling=sampling, generator=torch.Generator())


def test_stop_ids_may_come_from_an_iterator(tiny: Any) -> None:
    free = generate(tiny.ours, [1, 2], 8, stop_ids=())
    stop = int(free[3])
    stopped = generate(tiny.ours, [1, 2], 8, stop_ids=iter([stop]))
    assert torch.equal(stopped, free[: free[2:].tolist().index(stop) + 3])
