"""vLLM's greedy tokens, recorded so that the tests can hold ``kb.serving`` against them where there is no vLLM.

20 texts, each ended by vLLM's own rule (end of sequence, or 64 tokens), and the 32 requests of random ids of the
serving races, which always write 64. Tokens are stored as one line of ids a request; steps at which the two best
logits are nearly tied are listed, as float32 sums in another order may decide them otherwise.
"""

import torch

from benchmarks.agreement import TIE
from benchmarks.foreign.vllm_driver import Vllm
from benchmarks.measurement import Measurement
from benchmarks.workloads import serving_prompts
from kb import checkpoints

DEVICES = ("cpu",)
NEW_TOKENS = 64
TEXTS = (
    "The capital of France is",
    "Once upon a time in a faraway land, a young prince named Arin",
    "def fibonacci(n):\n    ",
    "Water boils at",
    "Q: What is 17 + 25?\nA:",
    "The three laws of thermodynamics are",
    "Dear Sir or Madam,\n\nI am writing to",
    "SELECT name, COUNT(*) FROM",
    "To make a good cup of tea, first",
    "import numpy as np\n\n",
    "The mitochondrion is",
    "1, 1, 2, 3, 5, 8,",
    "In 1969, the first people",
    "Photosynthesis is the process by which",
    "Roses are red,",
    "人工智能是",
    "Le petit prince habitait",
    "| Country | Capital |\n|---|---|\n| Japan | Tokyo |\n",
    "The difference between a list and a tuple in Python is that",
    "<|im_start|>user\nName three primary colours.<|im_end|>\n<|im_start|>assistant\n",
)


def line(ids: list[int]) -> str:
    """Ids as text that takes one line in a record."""
    return " ".join(map(str, ids))


def measure(device: torch.device) -> Measurement:
    """Ask vLLM for both kinds of request."""
    checkpoint = checkpoints.load("smollm2-135m", device=device)
    prompts = serving_prompts(checkpoint.config["vocab_size"])
    with Vllm(checkpoint.folder, enable_prefix_caching=False) as vllm:
        texts = vllm.generate_with_gaps(TEXTS, temperature=0.0, max_tokens=NEW_TOKENS)
        random = vllm.generate_with_gaps(prompts, temperature=0.0, max_tokens=NEW_TOKENS, ignore_eos=True)
    assert [answer["prompt"] for answer in random] == prompts
    facts = {
        kind: [
            {
                "prompt": line(answer["prompt"]),
                "tokens": line(answer["tokens"]),
                "ties": [step for step, gap in enumerate(answer["gaps"]) if gap < TIE],
            }
            for answer in answers
        ]
        for kind, answers in (("texts", texts), ("random", random))
    }
    return Measurement(
        title="vLLM's greedy tokens, SmolLM2-135M, float32",
        method=f"{len(TEXTS)} texts and {len(prompts)} prompts of random ids, up to {NEW_TOKENS} new tokens each, no "
        "prefix cache",
        facts={**facts, "prompts": list(TEXTS), "max_tokens": NEW_TOKENS, "vllm": vllm.about},
    )
