"""Compile numba's loops on a fresh clone while the first tests run, which have no use for a second core.

Whatever has such loops is called once on a little data; numba keeps what it makes beside the sources, for tests and
pages alike. A test that comes to a loop before it is there compiles it for itself, and nothing is checked here.
"""

import sys
from importlib.util import find_spec

import numpy as np
import torch

from kb.algorithms import Automaton
from kb.embeddings import GloVe, Word2Vec
from kb.gbdt import GBDTClassifier, GBDTRanker, GBDTRegressor
from kb.lm import DecoderLM, ModelConfig
from kb.nn.processor import panels_are_fast
from kb.serving import LLM, SamplingParams

ROWS = 3000


def trees() -> None:
    """Trees of each kind, on numbers with gaps in either precision and on categories."""
    generator = np.random.default_rng(0)
    values = generator.standard_normal((ROWS, 4))
    values[generator.random(values.shape) < 0.1] = np.nan
    values[:, 3] = generator.integers(0, 9, ROWS)
    target = generator.integers(0, 3, ROWS)
    for table in (values, values.astype(np.float32)):
        model = GBDTRegressor(n_estimators=3).fit(table, target, categorical_feature=[3])
        model.predict(table)
        model.predict(table[:20], pred_contrib=True)
        GBDTClassifier(n_estimators=2).fit(table, target).predict(table)
        GBDTClassifier(n_estimators=2).fit(table, target > 0)
        GBDTRegressor(n_estimators=2, subsample=0.5, subsample_freq=1).fit(table, target)
    GBDTRegressor(n_estimators=2, max_bin=400).fit(values, target)  # bins that a byte cannot number
    GBDTRanker(n_estimators=2).fit(values, target, group=[20] * (ROWS // 20)).predict(values)


def serving() -> None:
    """A few tokens from a small engine, with the blocks that it takes where the processor is fast at them."""
    config = ModelConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        max_positions=96,
    )
    for dtype in (torch.float32, torch.float64):
        model = DecoderLM(config).requires_grad_(False).eval().to(dtype)
        if panels_are_fast() and dtype == torch.float32:
            from kb.serving.fused_block import fuse_blocks

            fuse_blocks(model)
        params = SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)
        LLM(model, num_gpu_blocks_override=16).generate([list(range(1, 50)), [4]], params, use_tqdm=False)


def word_vectors() -> None:
    """A few steps of word2vec and of GloVe."""
    text = [list("abcdefgh")] * 3
    Word2Vec(text, vector_size=4, min_count=1)
    GloVe(text, 4, min_count=1, epochs=1)


def words() -> None:
    """A word, sought in both ways."""
    automaton: Automaton[int] = Automaton()
    automaton.add_word("word", 0)
    automaton.make_automaton()
    assert list(automaton.iter("a word")) == list(automaton.iter_long("a word"))


def main() -> int:
    """Compile all there is; without numba there is nothing."""
    if find_spec("numba") is not None:
        trees()
        serving()
        word_vectors()
        words()
    return 0


if __name__ == "__main__":
    sys.exit(main())
