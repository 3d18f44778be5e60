"""From cross-entropy over everything to a few samples: NCE, negative sampling and the sampled softmax.

NCE asks of each draw whether it came from the data, knowing the noise's density and how many noise draws there are for
one of the data: the answer's logit is log p_model - log p_noise - log k, and so an unnormalised model learns its own
normaliser. Negative sampling leaves the noise out of the logit, and learns log p_data - log p_noise - log k instead.
The sampled softmax asks which candidate is the true one, and takes log q off each logit, as frequent ones are drawn
more often.

Sources: Gutmann and Hyvärinen 2012, JMLR 13, equation 8 and theorem 3; Mikolov et al. 2013, arXiv 1310.4546, equation
4; Levy and Goldberg 2014 (what that learns); Jean et al. 2015, arXiv 1412.2007, section 3; Yi et al. 2019 (log q).
Shapes: N draws of the data, M of the noise, V vocabulary, D width, F features, X points of a grid.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.contrastive.inputs import embeddings, require_places, require_positive


def nce_loss(model_N: Tensor, noise_N: Tensor, model_M: Tensor, noise_M: Tensor) -> Tensor:
    """Logistic loss of telling data from noise, summed over all draws, over N; k = M / N.

    Args:
        model_N: log p_model of the data, unnormalised.
        noise_N: log p_noise of the data, normalised.
        model_M: log p_model of the noise.
        noise_M: log p_noise of the noise.

    Raises:
        TypeError: one of them is no floating-point tensor of one axis.
        ValueError: lengths differ, or a side has no draw.
    """
    model_N, noise_N = _draws("model_N", model_N), _draws("noise_N", noise_N)
    model_M, noise_M = _draws("model_M", model_M), _draws("noise_M", noise_M)
    for name, values, other in (("model_N", model_N, noise_N), ("model_M", model_M, noise_M)):
        if values.shape != other.shape:
            raise ValueError(f"{name} and its noise must be of one length, got {len(values)} and {len(other)}")
    log_k = math.log(len(model_M) / len(model_N))
    return negative_sampling_loss(model_N - noise_N - log_k, model_M - noise_M - log_k)


def negative_sampling_loss(score_N: Tensor, score_M: Tensor) -> Tensor:
    """The logistic loss with the score of data and noise as the logit: NCE's, were k p_noise 1 everywhere."""
    score_N, score_M = _draws("score_N", score_N), _draws("score_M", score_M)
    return -(F.logsigmoid(score_N).sum() + F.logsigmoid(-score_M).sum()) / len(score_N)


def nce_loss_loop(model_N: Tensor, noise_N: Tensor, model_M: Tensor, noise_M: Tensor) -> Tensor:
    """Reference, from densities: -log of the posterior h = p / (p + k p_noise) of data, and of 1 - h of noise."""
    k, terms = len(model_M) / len(model_N), []
    for p, q in zip(model_N.exp(), noise_N.exp(), strict=True):
        terms.append(-(p / (p + k * q)).log())
    for p, q in zip(model_M.exp(), noise_M.exp(), strict=True):
        terms.append(-(k * q / (p + k * q)).log())
    return torch.stack(terms).sum() / len(model_N)


def sampled_softmax_loss(
    query_ND: Tensor, table_VD: Tensor, target_N: Tensor, sampled_M: Tensor, log_q_V: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of the target among itself and the sampled, by product; only their rows are looked at.

    Args:
        query_ND: Queries.
        table_VD: A row for each of the vocabulary.
        target_N: int64, the true one of each query.
        sampled_M: int64, drawn from q, shared by all queries; where one is a query's target it is left out for it.
        log_q_V: log of the probability that a draw is each of the vocabulary, taken off the logits; None for no
            correction, which learns log p - log q.

    Raises:
        TypeError: queries or table are no floating-point tensors, or ids are no int64 of one axis.
        ValueError: shapes do not fit, or an id is not of the vocabulary.
    """
    query, table = embeddings("query_ND", query_ND), embeddings("table_VD", table_VD, like=query_ND)
    for name, ids in (("target_N", target_N), ("sampled_M", sampled_M)):
        require_places(name, ids, len(table))
    if len(target_N) != len(query):
        raise ValueError(f"target_N must be [{len(query)}], one for each query, got {tuple(target_N.shape)}")
    own_N1 = (query * table[target_N]).sum(1, keepdim=True)
    others_NM = query @ table[sampled_M].T
    if log_q_V is not None:
        if log_q_V.shape != table.shape[:1]:
            raise ValueError(f"log_q_V must be [{len(table)}], one for each table row, got {tuple(log_q_V.shape)}")
        own_N1, others_NM = own_N1 - log_q_V[target_N, None], others_NM - log_q_V[sampled_M]
    others_NM = others_NM.masked_fill(sampled_M == target_N[:, None], -torch.inf)
    return F.cross_entropy(torch.cat((own_N1, others_NM), dim=1), torch.zeros_like(target_N))


def fit_nce(data_NF: Tensor, noise_MF: Tensor, log_noise_N: Tensor, log_noise_M: Tensor) -> Tensor:
    """The parameters [F] of log p_model = features · parameters at the least NCE loss, by Newton's method.

    A column of ones among the features has minus the logarithm of the normaliser, learned like any other; log_noise is
    log p_noise of the data and of the noise.

    Raises:
        ValueError: shapes do not fit, a side has no draw, something is not finite, or no minimum is found, as where
            data and noise can be told apart without error.
    """
    for name, rows, logs in (("data_NF", data_NF, log_noise_N), ("noise_MF", noise_MF, log_noise_M)):
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != data_NF.shape[1] or logs.shape != rows.shape[:1]:
            shapes = f"{tuple(rows.shape)} and {tuple(logs.shape)}"
            raise ValueError(f"{name} must be draws by features, with a log-density for each draw, got {shapes}")
    if not all(one.isfinite().all() for one in (data_NF, noise_MF, log_noise_N, log_noise_M)):
        raise ValueError("features and log-densities must be finite, got NaN or an infinity")
    rows, log_k = torch.cat((data_NF, noise_MF)).double(), math.log(len(noise_MF) / len(data_NF))
    offset = torch.cat((log_noise_N, log_noise_M)).double() + log_k
    label = torch.cat((torch.ones(len(data_NF)), torch.zeros(len(noise_MF)))).double()
    found = torch.zeros(rows.shape[1], dtype=torch.float64)

    def loss(parameters: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(rows @ parameters - offset, label, reduction="sum")

    for _ in range(100):
        h = (rows @ found - offset).sigmoid()
        curvature = (rows * (h * (1 - h))[:, None]).T @ rows
        step = torch.linalg.lstsq(curvature, (rows.T @ (h - label))[:, None]).solution[:, 0]
        while loss(found - step) > loss(found) and step.norm() > 1e-12:  # too far: the loss is convex
            step = step / 2
        found = found - step
        if step.norm() < 1e-9 * (1 + found.norm()):
            if float(loss(found)) < 1e-6:  # no slope, as no draw is in doubt: there is no minimum
                break
            return found
    raise ValueError("no minimum was found: data and noise may be told apart without error")


def _draws(name: str, values: Tensor) -> Tensor:
    """The draws, at least in float32: a sum over many would overflow in float16."""
    if not isinstance(values, Tensor) or not values.is_floating_point() or values.ndim != 1:
        raise TypeError(f"{name} must be a floating-point tensor of one axis, got {values!r}")
    if not len(values):
        raise ValueError(f"{name} must have a draw, got none")
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def nce_covariance(features_XF: Tensor, log_data_X: Tensor, log_noise_X: Tensor, *, k: float, step: float) -> Tensor:
    """N times the covariance of what NCE finds with k draws of noise for one of data, for many draws: theorem 3.

    The integral is a sum over a grid of spacing ``step``, at whose points features and log-densities are given.

    Raises:
        ValueError: ``k`` or ``step`` is no number above 0.
    """
    require_positive("k", k)
    require_positive("step", step)
    noise_share_X = (math.log(k) + log_noise_X - log_data_X).sigmoid()  # 1 - h
    weight_X1 = (noise_share_X * log_data_X.exp() * step)[:, None]
    inverse_FF = torch.linalg.inv((features_XF * weight_X1).T @ features_XF)
    mean_F = inverse_FF @ (features_XF * weight_X1).sum(0)
    return inverse_FF - (1 + 1 / k) * mean_F[:, None] * mean_F[None, :]
