"""Distillation: loop = fast = torch's kl_div in value and gradient; the two limits of the temperature."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.compression import (
    distillation_gradient,
    distillation_loss,
    distillation_loss_loop,
    high_temperature_gradient,
    kl_divergence,
    mixed_loss,
)


def logits(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.requires_grad_(), teacher


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.3, 20), st.integers(1, 4), st.integers(2, 6))
def test_value_and_gradient_equal_torch_loop_and_formula(seed: int, temperature: float, N: int, V: int) -> None:
    student, teacher = logits(seed, N, V)
    ours = distillation_loss(student, teacher, temperature=temperature)
    log_q, log_p = (student / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1)
    theirs = temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    torch.testing.assert_close(ours, theirs)
    loops = [
        distillation_loss_loop(one, other, temperature=temperature)
        for one, other in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    assert float(ours.detach()) == pytest.approx(sum(loops) / N, abs=1e-9)
    gradient = torch.autograd.grad(ours, student)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, student)[0])
    torch.testing.assert_close(gradient, distillation_gradient(student, teacher, temperature=temperature).detach())


def test_reverse_equals_torch_and_gradcheck() -> None:
    student, teacher = logits(0, 3, 5)
    ours = distillation_loss(student, teacher, temperature=2.0, direction="reverse")
    log_q, log_p = (student / 2).log_softmax(-1), (teacher / 2).log_softmax(-1)
    torch.testing.assert_close(ours, 4 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True))
    assert torch.autograd.gradcheck(lambda s: distillation_loss(s, teacher, direction="reverse"), student)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 6))
def test_hot_distillation_matches_centred_logits(seed: int, V: int) -> None:
    student, teacher = logits(seed, 2, V)
    hot = distillation_gradient(student, teacher, temperature=1e5)
    torch.testing.assert_close(hot, high_temperature_gradient(student, teacher), rtol=1e-3, atol=1e-3)
    shifted = distillation_gradient(student + 7, teacher - 3, temperature=1e5)
    torch.testing.assert_close(hot, shifted, rtol=1e-4, atol=1e-4)


def test_without_t_squared_the_gradient_falls_as_one_over_t_squared() -> None:
    student, teacher = logits(1, 4, 6)
    plain = [distillation_gradient(student, teacher, temperature=T).norm() / T**2 for T in (100.0, 200.0)]
    assert float(plain[0] / plain[1]) == pytest.approx(4, rel=0.05)


def test_mixed_loss_is_its_two_ends_and_the_teacher_gets_no_gradient() -> None:
    student, teacher = logits(2, 2, 3, 5)
    teacher.requires_grad_()
    labels = torch.tensor([[0, 1, 2], [3, 4, 0]])
    hard = F.cross_entropy(student.flatten(0, 1), labels.flatten())
    soft = distillation_loss(student, teacher, temperature=3.0)
    for weight in (0.0, 0.3, 1.0):
        both = mixed_loss(student, teacher, labels, temperature=3.0, soft_weight=weight)
        torch.testing.assert_close(both, weight * soft + (1 - weight) * hard)
    assert torch.autograd.grad(soft, teacher, allow_unused=True)[0] is None
    one_hot = 1e4 * F.one_hot(labels, 5).double()
    torch.testing.assert_close(distillation_loss(student, one_hot), hard)


def test_kl_by_hand() -> None:
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.5, 0.25])
    torch.testing.assert_close(kl_divergence(p, q), 0.5 * torch.tensor(2.0).log())
    assert kl_divergence(q, p).isinf()


def test_bad_input_is_refused() -> None:
    student, teacher = logits(3, 2, 4)
    with pytest.raises(ValueError, match="temperature"):
        distillation_loss(student, teacher, temperature=0)
    with pytest.raises(ValueError, match="direction"):
        distillation_loss(student, teacher, direction="backward")
    with pytest.raises(ValueError, match="one non-empty shape"):
        distillation_loss(student, teacher[:1])
    with pytest.raises(ValueError, match="soft_weight"):
        mixed_loss(student, teacher, torch.zeros(2, dtype=torch.long), soft_weight=2)
    with pytest.raises(ValueError, match="labels"):
        mixed_loss(student, teacher, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="one shape"):
        kl_divergence(torch.ones(2), torch.ones(3))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_token_that_both_rule_out_changes_nothing(direction: str) -> None:
    student, teacher = logits(0, 3, 5)
    wanted = distillation_loss(student, teacher, temperature=2, direction=direction)
    never = torch.full((3, 1), -torch.inf, dtype=torch.float64)
    found = distillation_loss(
        torch.cat([student, never], -1), torch.cat([teacher, never], -1), temperature=2, direction=direction
    )
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, student), torch.autograd.grad(wanted, student))


def test_padding_counts_in_neither_loss() -> None:
    student, teacher = logits(0, 2, 3, 5)
    labels = torch.tensor([[0, 4, -100], [1, -100, -100]])
    kept = labels != -100
    found = mixed_loss(student, teacher, labels, temperature=2, soft_weight=0.3)
    torch.testing.assert_close(
        found, mixed_loss(student[kept], teacher[kept], labels[kept], temperature=2, soft_weight=0.3)
    )
    with pytest.raises(ValueError, match="non-empty"):
        mixed_loss(student, teacher, torch.full_like(labels, -100))
