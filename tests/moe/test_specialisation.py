"""Tables of labels and experts: counts by a loop, information as scikit-learn has it, classes by regular words."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from kb.moe import RouterConfig, Routing, route
from kb.moe.equal_compute import Recipe
from kb.moe.language_model import recorded
from kb.moe.specialisation import CLASSES, byte_classes, normalised_mutual_information, usage, usage_over
from kb.training import encode_bytes


def routing_of(T: int, E: int, K: int, seed: int = 0) -> Routing:
    return route(torch.randn(T, E, generator=torch.Generator().manual_seed(seed)), RouterConfig(E, K))


@given(T=st.integers(0, 20), E=st.integers(1, 5), X=st.integers(1, 4), data=st.data())
def test_usage_is_what_a_loop_counts(T: int, E: int, X: int, data: st.DataObject) -> None:
    routing = routing_of(T, E, data.draw(st.integers(1, E)))
    labels_T = torch.tensor(data.draw(st.lists(st.integers(0, X - 1), min_size=T, max_size=T)), dtype=torch.int64)
    wanted_XE = torch.zeros(X, E, dtype=torch.int64)
    for label, experts_K in zip(labels_T.tolist(), routing.experts_TK.tolist(), strict=True):
        for expert in experts_K:
            wanted_XE[label, expert] += 1
    assert torch.equal(usage(routing, labels_T, X), wanted_XE)


@given(table=st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=1, max_size=4))
def test_information_is_that_of_scikit_learn(table: list[list[int]]) -> None:
    counts_XE = torch.tensor(table)
    if not counts_XE.sum():
        return
    rows, columns = [], []
    for x, row in enumerate(table):
        for e, count in enumerate(row):
            rows += [x] * count
            columns += [e] * count
    ours = normalised_mutual_information(counts_XE)
    if len(set(rows)) == len(set(columns)) == 1:
        assert ours == 0  # where scikit-learn says 1: two partitions into one part are equal
    else:
        assert ours == pytest.approx(normalized_mutual_info_score(rows, columns), abs=1e-9)


def test_information_at_its_ends() -> None:
    assert normalised_mutual_information(torch.eye(4)) == pytest.approx(1)
    assert normalised_mutual_information(torch.ones(4, 4)) == pytest.approx(0, abs=1e-12)
    # Two labels on one expert each, of two equal halves: by hand 2 log 2 / (log 2 + log 4).
    half_XE = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]])
    assert normalised_mutual_information(half_XE) == pytest.approx(2 / 3)


@given(text=st.text(alphabet="ab \n\t9.,_é", max_size=40))
def test_classes_are_those_of_regular_expressions(text: str) -> None:
    raw = text.encode()
    wanted = [""] * len(raw)
    patterns = {
        "letters": rb"[a-z]",
        "digits": rb"[0-9]",
        "punctuation": rb"[.,_]",
        "space": rb"[ \t]",
        "other": rb"[\x80-\xff]",
        "line ends and indentation": rb"\n[ \t]*",  # last: blanks of a line's beginning
    }
    for name, pattern in patterns.items():
        for found in re.finditer(pattern, raw):
            wanted[found.start() : found.end()] = [name] * (found.end() - found.start())
    assert [CLASSES[one] for one in byte_classes(encode_bytes(raw)).tolist()] == wanted


def test_usage_over_texts_counts_every_token_k_times() -> None:
    recipe = Recipe(length=16)
    model = recipe.sparse(0)
    texts = [encode_bytes("abc 123, " * 20), encode_bytes("x\n  y" * 30)]
    by_domain_LXE, by_class_LCE = usage_over(model, texts, 16)
    assert by_domain_LXE.shape == (2, 2, 4)
    assert by_domain_LXE.sum(-1).tolist() == [[2 * 176, 2 * 144]] * 2
    assert by_class_LCE.shape == (2, 6, 4)
    assert int(by_class_LCE[0].sum()) == 2 * (176 + 144)
    digits = sum(chr(byte).isdigit() for byte in texts[0][:176].tolist())
    assert by_class_LCE[:, CLASSES.index("digits")].sum(-1).tolist() == [2 * digits] * 2


def test_usage_over_texts_is_that_of_each_window_by_itself() -> None:
    model = Recipe(length=16).sparse(0)
    texts = [encode_bytes("abc 123, " * 20), encode_bytes("x\n  y" * 30)]
    by_domain_LXE, by_class_LCE = usage_over(model, texts, 16)
    wanted_LXE, wanted_LCE = torch.zeros_like(by_domain_LXE), torch.zeros_like(by_class_LCE)
    for number, text_N in enumerate(texts):
        whole_N = text_N[: len(text_N) // 16 * 16]
        classes_N = byte_classes(whole_N)  # a window's first blanks may be indentation that began before it
        for start in range(0, len(whole_N), 16):
            with recorded(model) as routings, torch.no_grad():
                model(whole_N[None, start : start + 16])
            for layer, routing in enumerate(routings):
                for t, experts_K in enumerate(routing.experts_TK.tolist()):
                    for expert in experts_K:
                        wanted_LXE[layer, number, expert] += 1
                        wanted_LCE[layer, classes_N[start + t], expert] += 1
    assert torch.equal(by_domain_LXE, wanted_LXE)
    assert torch.equal(by_class_LCE, wanted_LCE)


def bad(labels: list[int], X: int = 2) -> Tensor:
    return usage(routing_of(3, 4, 2), torch.tensor(labels), X)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must be int64 \[3\]"):
        bad([0, 1])
    with pytest.raises(ValueError, match="labels must be of 0 to 1, got 0 to 2"):
        bad([0, 1, 2])
    with pytest.raises(ValueError, match="num_labels must be an integer of at least 1"):
        bad([0, 0, 0], 0)
    with pytest.raises(ValueError, match=r"counts must be \[X, E\]"):
        normalised_mutual_information(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"counts must be \[X, E\]"):
        normalised_mutual_information(torch.tensor([[1, -1]]))
    with pytest.raises(ValueError, match="tokens must be integers"):
        byte_classes(torch.zeros(3))
    with pytest.raises(ValueError, match="tokens must be bytes, got 5 to 256"):
        byte_classes(torch.tensor([5, 256]))
    with pytest.raises(ValueError, match="text 0 of 9 bytes holds no window of length 16"):
        usage_over(Recipe().sparse(0), [torch.zeros(9, dtype=torch.int64)], 16)
    with pytest.raises(ValueError, match="model has no layer of experts"):
        usage_over(Recipe().dense(0), [torch.zeros(16, dtype=torch.int64)], 16)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_counts_that_are_none_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="counts must be"):
        normalised_mutual_information(torch.tensor([[1.0, value], [2.0, 1.0]]))


def test_bytes_of_any_integers_and_texts_of_some_length() -> None:
    text_N = encode_bytes("a 1")
    assert torch.equal(byte_classes(text_N.to(torch.uint8)), byte_classes(text_N))
    model = Recipe(length=16).sparse(0)
    with pytest.raises(ValueError, match="texts"):
        usage_over(model, [], 16)
    with pytest.raises(ValueError, match="length"):
        usage_over(model, [text_N], 0)
