"""Best of n: no training at all; sample n responses and let the reward model choose.

Unusual: what best of n would give is estimated for every n from the same N samples, without bias, by how often each
sample is the best of a random subset; nothing is drawn again.

Sources: Stiennon et al. 2020, Learning to Summarize from Human Feedback, appendix G.3 (the KL); Nakano et al. 2021,
WebGPT, appendix I (the estimate); Beirami et al. 2024, arXiv 2401.01879 (log n - (n-1)/n is an upper bound).
Shapes: N samples of one prompt.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from kb.arguments import require_count


def best_of_n_kl(n: int) -> float:
    """The KL of best of n from sampling, log n - (n - 1) / n nats; an upper bound where responses can be alike.

    Raises:
        ValueError: n is not a positive integer.
    """
    require_count("n", n)
    return math.log(n) - (n - 1) / n


def best_of_n_mean(proxy_N: Tensor, gold_N: Tensor, n: int) -> float:
    """Expected gold reward of the response with the highest proxy reward among n of these N, drawn without replacement.

    Sorted by the proxy, sample i (from 1) is the best of C(i - 1, n - 1) of the C(N, n) subsets. Ties of the proxy go
    to the later sample.

    Args:
        proxy_N: What chooses.
        gold_N: What is asked for; the proxy itself gives the proxy's own mean.
        n: At most N.

    Raises:
        ValueError: the shapes differ, the proxy is no number somewhere, or n is not from 1 to N.
    """
    require_count("n", n)
    if proxy_N.dim() != 1 or proxy_N.shape != gold_N.shape:
        raise ValueError(f"wanted proxy and gold [N], got {tuple(proxy_N.shape)} and {tuple(gold_N.shape)}")
    if bool(proxy_N.isnan().any()):
        raise ValueError("proxy is NaN somewhere: there is no best")
    N = len(proxy_N)
    if n > N:
        raise ValueError(f"n must be at most the {N} samples, got {n}")
    sorted_N = gold_N[proxy_N.argsort(stable=True)].double()
    weights_N = torch.tensor([math.comb(i, n - 1) / math.comb(N, n) for i in range(N)], dtype=torch.float64)
    return float(sorted_N @ weights_N.to(sorted_N.device))


def best_of_n_mean_loop(proxy: Sequence[float], gold: Sequence[float], n: int) -> float:
    """The same over all subsets."""
    chosen = [gold[max(some, key=lambda i: (proxy[i], i))] for some in combinations(range(len(proxy)), n)]
    return sum(chosen) / len(chosen)
