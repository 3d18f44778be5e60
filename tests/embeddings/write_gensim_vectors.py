"""Write what gensim 4.4.0 makes of a small text: ``python tests/embeddings/write_gensim_vectors.py``, gensim installed.

The tests compare with the file that this leaves, so that gensim (58 MB, compiled) is needed only to write it anew.
"""

from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("gensim_vectors.npz")
WORDS = ["the", "of", "cat", "cats", "running", "runner", "ran", "übung", "über", "dog", "doggy", "house", "mouse"]
WORDS += ["学习", "music", "musical", "a", "x"]
COMMON = {"vector_size": 8, "window": 4, "min_count": 2, "epochs": 2, "seed": 7, "batch_words": 300}
COMMON |= {"sample": 1e-2, "alpha": 0.05}
WORD2VEC: dict[str, dict[str, Any]] = {
    "cbow": {"sg": 0},
    "cbow sum": {"sg": 0, "cbow_mean": 0},
    "cbow hs": {"sg": 0, "hs": 1, "negative": 0},
    "skip-gram": {"sg": 1},
    "skip-gram hs": {"sg": 1, "hs": 1, "negative": 0, "sample": 0},
    "skip-gram both, whole windows": {"sg": 1, "hs": 1, "negative": 3, "shrink_windows": False},
    "skip-gram, flat noise, fast": {"sg": 1, "ns_exponent": 0.0, "alpha": 0.2, "window": 2},
}
FASTTEXT: dict[str, dict[str, Any]] = {
    "fasttext cbow": {"sg": 0, "min_n": 1, "max_n": 4, "bucket": 60},
    "fasttext cbow sum": {"sg": 0, "cbow_mean": 0, "min_n": 3, "max_n": 6, "bucket": 60},
    "fasttext skip-gram": {"sg": 1, "min_n": 3, "max_n": 5, "bucket": 60},
}
UNKNOWN = "musically"


def sentences() -> list[list[str]]:
    """150 sentences, one of them empty and one without a word that is frequent enough."""
    random = np.random.RandomState(0)
    weights = 1 / np.arange(1, len(WORDS) + 1)
    drawn = [random.choice(WORDS, size=random.randint(1, 16), p=weights / weights.sum()).tolist() for _ in range(150)]
    return [*drawn[:70], [], ["once"], *drawn[70:]]


def main() -> None:
    """Train in each way with one worker, and keep the vectors."""
    import gensim
    from gensim.models import FastText, Word2Vec

    found: dict[str, Any] = {"version": gensim.__version__}
    for name, options in WORD2VEC.items():
        model = Word2Vec(sentences(), workers=1, **{**COMMON, **options})
        found[name] = model.wv.vectors
    wv = model.wv
    found |= {"words": wv.index_to_key, "counts": [wv.get_vecattr(word, "count") for word in wv.index_to_key]}
    found |= {"noise": Word2Vec(sentences(), workers=1, **COMMON).cum_table, "keep": wv.expandos["sample_int"]}
    tree = Word2Vec(sentences(), workers=1, hs=1, **COMMON).wv.expandos
    found["codes"] = ["".join(map(str, code)) for code in tree["code"]]
    found["points"] = [" ".join(map(str, points)) for points in tree["point"]]
    for name, rule in {"add": wv.most_similar, "mul": wv.most_similar_cosmul}.items():
        answers = rule(positive=["cat", "running"], negative=["dog"], topn=5)
        found |= {f"{name} words": [word for word, _ in answers], f"{name} scores": [score for _, score in answers]}
    found["odd one"] = wv.doesnt_match(["cat", "dog", "house"])
    for name, options in FASTTEXT.items():
        fast = FastText(sentences(), workers=1, **{**COMMON, **options}).wv
        found |= {name: fast.vectors, f"{name} unknown": fast[UNKNOWN]}
    np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main()
