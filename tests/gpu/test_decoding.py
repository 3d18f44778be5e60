"""On a GPU the ways of decoding choose the tokens that they choose on the CPU."""

import pytest
import torch

from kb.lm import DecoderLM, ModelConfig, SamplingParams, generate
from kb.lm.decoding import (
    BeamConfig,
    ContrastiveConfig,
    Epsilon,
    Eta,
    FrequencyPenalty,
    MinP,
    ModelDraft,
    NoRepeatNGram,
    PresencePenalty,
    Processors,
    PromptLookup,
    RepetitionPenalty,
    Temperature,
    TopK,
    TopP,
    Typical,
    beam_search,
    contrastive_search,
    mean_log_likelihood,
    speculative_decode,
)

pytestmark = pytest.mark.gpu

PROMPTS = torch.randint(0, 53, (2, 6), generator=torch.Generator().manual_seed(1))


def model(seed: int = 0) -> DecoderLM:
    """Random weights in double precision, large enough that logits differ."""
    torch.manual_seed(seed)
    made = DecoderLM(ModelConfig(53, 32, 64, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8, max_positions=64))
    for name, parameter in made.requires_grad_(False).named_parameters():
        parameter.normal_(1.0 if "norm" in name else 0.0, 0.2)
    return made.double().eval()


@pytest.mark.parametrize(
    "processor",
    [
        Temperature(0.7),
        TopK(5),
        TopP(0.8),
        MinP(0.1),
        Typical(0.7),
        Epsilon(0.02),
        Eta(0.02),
        RepetitionPenalty(1.3),
        PresencePenalty(0.5),
        FrequencyPenalty(0.5),
        NoRepeatNGram(2),
    ],
    ids=lambda one: type(one).__name__,
)
def test_processors_edit_scores_as_on_the_cpu(processor: object, device: torch.device) -> None:
    ids = torch.randint(0, 9, (3, 12), generator=torch.Generator().manual_seed(2))
    scores = torch.randn(3, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    edit = Processors([processor])  # type: ignore[list-item]
    torch.testing.assert_close(edit(ids.to(device), scores.to(device)).cpu(), edit(ids, scores))


@pytest.mark.parametrize("use_cache", [True, False])
def test_beams_are_those_of_the_cpu(use_cache: bool, device: torch.device) -> None:
    config = BeamConfig(num_beams=4, max_new_tokens=12, length_penalty=0.8, num_return_sequences=2)
    wanted = beam_search(model(), PROMPTS, config, stop_ids=(3, 7))
    found = beam_search(model().to(device), PROMPTS.to(device), config, stop_ids=(3, 7), use_cache=use_cache)
    assert torch.equal(found.sequences.cpu(), wanted.sequences)
    torch.testing.assert_close(found.sequences_scores.cpu(), wanted.sequences_scores, rtol=1e-4, atol=1e-4)


def test_contrastive_search_is_that_of_the_cpu(device: torch.device) -> None:
    config = ContrastiveConfig(12, top_k=4, penalty_alpha=0.5)
    found = contrastive_search(model().to(device), PROMPTS.to(device), config, stop_ids=())
    assert torch.equal(found.cpu(), contrastive_search(model(), PROMPTS, config, stop_ids=()))


def test_speculation_gives_the_target_s_greedy_text(device: torch.device) -> None:
    there, prompt = model().to(device), PROMPTS[:1].to(device)
    wanted = generate(there, prompt, 20, stop_ids=())
    for draft in (ModelDraft(model(1).to(device), capacity=32), PromptLookup(53)):
        assert torch.equal(speculative_decode(there, draft, prompt, 20, stop_ids=()).tokens, wanted[0])


def test_speculation_draws_from_a_generator_of_the_device(device: torch.device) -> None:
    there, prompt = model().to(device), PROMPTS[:1].to(device)
    texts = [
        speculative_decode(
            there,
            ModelDraft(model(1).to(device), capacity=32),
            prompt,
            20,
            sampling=SamplingParams(0.9, top_k=20),
            generator=torch.Generator(device).manual_seed(5),
            stop_ids=(),
        ).tokens
        for _ in range(2)
    ]
    assert torch.equal(texts[0], texts[1])
    assert texts[0].device.type == device.type


def test_likelihoods_are_those_of_the_cpu(device: torch.device) -> None:
    found = mean_log_likelihood(model().to(device), PROMPTS.to(device))
    torch.testing.assert_close(found.cpu(), mean_log_likelihood(model(), PROMPTS), rtol=1e-4, atol=1e-4)
