"""Distillation: a student is trained on a teacher's distributions, not only on the one token that came.

The loss is the divergence of the two distributions at temperature T, times T²: its gradient in the student's logits is
T (q - p), and p and q themselves move together as T grows, so that T (q - p) stays of one size, and tends to
(z - v) / V of centred logits. Unusual: both directions of the divergence are here; KL(p || q), forward, covers all the
teacher does, KL(q || p), reverse, does nothing the teacher does not.

Sources: Hinton et al. 2015, Distilling the Knowledge in a Neural Network, sections 2 and 2.1 (equations 2 to 4); Gu et
al. 2024, MiniLLM, section 2 (reverse).
Shapes: N places, V vocabulary; p is the teacher's distribution, q the student's.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.arguments import is_number

DIRECTIONS = ("forward", "reverse")
IGNORED = -100  # what torch's cross-entropy leaves out


def distillation_loss(
    student: Tensor, teacher: Tensor, *, temperature: float = 1.0, direction: str = "forward"
) -> Tensor:
    """T² times the mean divergence between the two distributions, in nats; gradients reach the student alone.

    Args:
        student: Logits [..., V]; -inf where both rule a token out.
        teacher: Logits of the same shape; no gradient is taken through them.
        temperature: T.
        direction: "forward" for KL(p || q), "reverse" for KL(q || p).

    Raises:
        ValueError: shapes differ or are empty, T is not a positive number, or the direction is not known.
    """
    _require_logits(student, teacher)
    _require_temperature(temperature)
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
    log_p = (teacher.detach() / temperature).log_softmax(-1)
    log_q = (student / temperature).log_softmax(-1)
    log_from, log_to = (log_p, log_q) if direction == "forward" else (log_q, log_p)
    difference = (log_from - log_to).masked_fill(log_from == -torch.inf, 0.0)  # 0 log 0 is 0, as at a logit of -inf
    return temperature**2 * (log_from.exp() * difference).sum(-1).mean()


def mixed_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 1.0, soft_weight: float = 0.5
) -> Tensor:
    """``soft_weight`` of the distillation loss and the rest of cross-entropy with the labels, at temperature 1.

    Args:
        student: Logits [..., V].
        teacher: Logits of the same shape.
        labels: int64 [...]; places of label -100, as of padding, count in neither loss.
        temperature: Of the distillation loss.
        soft_weight: From 0, labels alone, to 1, the teacher alone.

    Raises:
        ValueError: as for :func:`distillation_loss`, labels do not fit, or the weight is not from 0 to 1.
    """
    if not is_number(soft_weight) or not 0 <= soft_weight <= 1:
        raise ValueError(f"soft_weight must be a number from 0 to 1, got {soft_weight!r}")
    if labels.shape != student.shape[:-1]:
        raise ValueError(f"labels must be {tuple(student.shape[:-1])}, got {tuple(labels.shape)}")
    kept = labels != IGNORED
    if not kept.all() and teacher.shape == student.shape:
        student, teacher, labels = student[kept], teacher[kept], labels[kept]
    soft = distillation_loss(student, teacher, temperature=temperature)
    hard = F.cross_entropy(student.flatten(0, -2), labels.flatten())
    return soft_weight * soft + (1 - soft_weight) * hard


def distillation_gradient(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """The gradient of the forward loss in the student's logits by its formula: T (q - p), over the number of places.

    Raises:
        ValueError: as for :func:`distillation_loss`.
    """
    _require_logits(student, teacher)
    _require_temperature(temperature)
    q, p = (student / temperature).softmax(-1), (teacher / temperature).softmax(-1)
    return temperature * (q - p) / (student.numel() // student.shape[-1])


def distillation_loss_loop(student: Sequence[float], teacher: Sequence[float], *, temperature: float) -> float:
    """The forward loss of one place, by explicit sums."""

    def softmax(logits: Sequence[float]) -> list[float]:
        powers = [math.exp((logit - max(logits)) / temperature) for logit in logits]
        return [power / sum(powers) for power in powers]

    p, q = softmax(teacher), softmax(student)
    return temperature**2 * sum(one * math.log(one / other) for one, other in zip(p, q, strict=True) if one > 0)


def _require_logits(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape or student.dim() == 0 or not student.numel():
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise ValueError(f"student and teacher must be logits of one non-empty shape [..., V], got {shapes}")
    if not (student.is_floating_point() and teacher.is_floating_point()):
        raise ValueError(f"student and teacher must be logits, got {student.dtype} and {teacher.dtype}")


def _require_temperature(temperature: float) -> None:
    if not is_number(temperature) or temperature <= 0:
        raise ValueError(f"temperature must be a positive number, got {temperature!r}")


def centred(logits: Tensor) -> Tensor:
    """Logits less their mean over the vocabulary, which no softmax can tell from the logits themselves."""
    return logits - logits.mean(-1, keepdim=True)


def high_temperature_gradient(student: Tensor, teacher: Tensor) -> Tensor:
    """What the gradient tends to as T grows: (centred student - centred teacher) / V, over the number of places."""
    _require_logits(student, teacher)
    places = student.numel() // student.shape[-1]
    return (centred(student) - centred(teacher)) / (student.shape[-1] * places)


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of probabilities over the last axis, in nats; places where p is 0 count nothing.

    Raises:
        ValueError: shapes differ.
    """
    if p.shape != q.shape:
        raise ValueError(f"p and q must have one shape, got {tuple(p.shape)} and {tuple(q.shape)}")
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(-1)
