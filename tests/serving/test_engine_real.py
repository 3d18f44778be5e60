"""The engine on SmolLM2 in float32: plain generation's tokens, but where two candidates are nearly tied; counted."""

from collections.abc import Callable

import pytest
import torch

from kb import checkpoints
from kb.lm import DecoderLM, NoCache
from kb.lm.sampling import draw, process
from kb.nn import pack_linears
from kb.nn.processor import panels_are_fast
from kb.serving import LLM, SamplingParams, attention, engine_args

Choices = Callable[[list[int], SamplingParams, int, list[int]], list[int]]

LARGEST_TIE = 1e-3  # a gap between the two best scores that round-off may close
MOST_TIES = 0.005  # share of all steps

CROWDED = {"block_size": 5, "num_gpu_blocks_override": 40, "max_model_len": 100, "max_num_batched_tokens": 32}
PROMPTS = [
    "The sun rises in the",
    "Once upon a time in a faraway land, a young prince named Arin",
    "def quicksort(numbers):",
    "Water boils at a temperature of",
    "The three laws of thermodynamics are",
    "Paris is the capital of France. Berlin is the capital of",
    "Dear Sir or Madam,\n\nI am writing to",
    "今天天气",
]


@pytest.fixture(scope="module")
def plain() -> DecoderLM:
    return DecoderLM.from_checkpoint(checkpoints.load("smollm2-135m"), share=True)


@pytest.fixture(scope="module")
def choices(plain: DecoderLM) -> Choices:
    """What plain generation chooses after the prompt and after each token of an answer but the last.

    One pass of the model tells them all; and that of an answer once for all engines.
    """
    known: dict[str, list[int]] = {}

    def choose(prompt: list[int], params: SamplingParams, index: int, found: list[int]) -> list[int]:
        key = repr((prompt, params, index, found))
        if key not in known:
            tokens = torch.tensor([prompt + found])
            with torch.inference_mode():
                logits = plain.logits(plain.hidden(tokens[:, :-1], NoCache())[:, len(prompt) - 1 :])[0].float()
            generators = [torch.Generator().manual_seed((params.seed or 0) + index)]
            known[key] = []
            for step, row in enumerate(logits):
                scores = process(row[None], tokens[:, : len(prompt) + step], params.to_lm())
                known[key] += (scores.argmax(dim=-1) if params.greedy else draw(scores, generators)).tolist()
        return known[key]

    return choose


def gap(model: DecoderLM, tokens: list[int], params: SamplingParams, generator: torch.Generator | None) -> float:
    """Between the two best candidates for the next token: of the logits, or of the scores with the draw's noise."""
    with torch.inference_mode():
        logits = model(torch.tensor([tokens]), last_only=True)[:, -1].float()
    scores = process(logits, torch.tensor([tokens]), params.to_lm())[0]
    if generator is not None:
        uniform = torch.empty_like(scores, dtype=torch.float64).uniform_(generator=generator)
        scores = scores.double().log_softmax(dim=-1) - torch.log(-torch.log1p(-uniform))
    best = scores.topk(2).values
    return float(best[0] - best[1])


def ties(
    model: DecoderLM, prompt: list[int], params: SamplingParams, index: int, found: list[int], wanted: list[int]
) -> tuple[int, int]:
    """Steps compared, and 1 where the texts part at a tie; fails where they part and nothing was tied.

    Up to there they are the same, so that what is wanted after what was found is what generation would have written.
    """
    parted = next((step for step, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b), None)
    if parted is None:
        return len(wanted), 0
    generator = None if params.greedy else torch.Generator().manual_seed((params.seed or 0) + index)
    if generator is not None:
        for _ in range(parted):
            torch.empty(model.config.vocab_size, dtype=torch.float64).uniform_(generator=generator)
    assert gap(model, prompt + wanted[:parted], params, generator) < LARGEST_TIE
    return parted + 1, 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "panels"), [({}, True), (CROWDED, True), (CROWDED, False)], ids=["roomy", "crowded", "crowded-packed"]
)
def test_tokens_part_only_at_ties_and_hardly_ever(
    plain: DecoderLM,
    choices: Choices,
    options: dict[str, int],
    panels: bool,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if panels and not panels_are_fast():
        pytest.skip("the panels of kb.nn.panel_linear want AVX-512 and numba")
    for module in (engine_args, attention):
        monkeypatch.setattr(module, "panels_are_fast", lambda: panels)
    llm = LLM("smollm2-135m", max_num_seqs=16, **options)
    jobs = []
    for place, prompt in enumerate(PROMPTS):
        ids = llm.get_tokenizer().encode(prompt)
        greedy = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)
        drawn = SamplingParams(n=1 + place % 2, seed=place, temperature=0.8, top_p=0.95, max_tokens=8, ignore_eos=True)
        jobs += [(ids, greedy), (ids, drawn)]
    preempted = []
    llm.llm_engine.core.observers.append(lambda plan, now: preempted.append(now.preempted))
    outputs = llm.generate([ids for ids, _ in jobs], [params for _, params in jobs], use_tqdm=False)
    counts = [
        ties(plain, ids, params, one.index, found, choices(ids, params, one.index, found))
        for (ids, params), output in zip(jobs, outputs, strict=True)
        for one in output.outputs
        for found in [list(one.token_ids)]
    ]
    steps, parted = sum(count for count, _ in counts), sum(tied for _, tied in counts)
    record_property("steps", steps)
    record_property("ties", parted)
    assert (sum(preempted) > 0) is bool(options)
    assert steps > 200
    assert parted <= MOST_TIES * steps


def test_packed_layers_change_no_logit_by_more_than_round_off(plain: DecoderLM) -> None:
    packed = DecoderLM.from_checkpoint(checkpoints.load("smollm2-135m"))
    assert pack_linears(packed) == 7 * 30 + 1
    tokens = torch.tensor([[19556, 905, 28, 1837, 1245, 284]])
    with torch.inference_mode():
        ours, theirs = packed(tokens), plain(tokens)
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())
