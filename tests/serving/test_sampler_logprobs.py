"""Log-probabilities and ranks that the sampler tells: of the model's own distribution, and by sorting."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.serving.logits_edits import SamplingRow
from kb.serving.sampler import Sampled, prompt_logprobs, sample
from kb.serving.sampling_params import SamplingParams
from tests.serving.sampling_rows import TOKENS, V, random_logits


def test_logprobs_are_of_the_models_own_distribution() -> None:
    logits_1V = torch.tensor([[1.0, 3.0, 2.0, 0.0]])
    asked = SamplingParams(temperature=0, logprobs=2, allowed_token_ids=[0, 3])
    [one] = sample(logits_1V, [SamplingRow(asked, [0], [])])
    assert isinstance(one, Sampled)
    logprobs_V = logits_1V[0].log_softmax(dim=-1)
    assert one.logprob == float(logprobs_V[0])
    # The chosen token, then the most likely two; its rank counts the tokens that the mask took away.
    assert [(token, rank) for token, _, rank in one.top] == [(0, 3), (1, 1), (2, 2)]
    assert [value for _, value, _ in one.top] == logprobs_V[[0, 1, 2]].tolist()


def test_a_chosen_token_among_the_most_likely_is_not_told_twice() -> None:
    logits_RV = torch.tensor([[1.0, 3.0, 2.0, 0.0]] * 3)
    rows = [SamplingRow(SamplingParams(temperature=0, logprobs=count), [0], []) for count in (0, 2, -1)]
    results = sample(logits_RV, rows)
    assert [[(one.token, one.rank) for one in each.top] for each in results if isinstance(each, Sampled)] == [
        [(1, 1)],
        [(1, 1), (2, 2)],
        [(1, 1), (2, 2), (0, 3), (3, 4)],
    ]


@settings(max_examples=60)
@given(tokens=st.lists(TOKENS, min_size=1, max_size=6), count=st.integers(0, V), seed=st.integers(0, 999))
def test_prompt_logprobs_by_sorting(tokens: list[int], count: int, seed: int) -> None:
    logits_TV = random_logits(len(tokens), seed)
    for token, logits_V, told_here in zip(tokens, logits_TV, prompt_logprobs(logits_TV, tokens, count), strict=True):
        best_first = sorted(range(V), key=lambda v, logits_V=logits_V: -float(logits_V[v]))  # type: ignore[misc]
        wanted = [token, *(one for one in best_first[:count] if one != token)]
        assert [(one.token, one.rank) for one in told_here] == [(one, best_first.index(one) + 1) for one in wanted]
        values = logits_V.log_softmax(dim=-1)[wanted]
        torch.testing.assert_close(torch.tensor([one.logprob for one in told_here]), values)


def test_the_rank_of_a_tied_token_counts_all_that_are_as_likely() -> None:
    assert prompt_logprobs(torch.zeros(1, 4), [2], 0)[0][0].rank == 4
