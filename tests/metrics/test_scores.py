"""Several classes and several labels: every average equal to scikit-learn's, with weights and missing classes."""

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as theirs

from kb import metrics

RNG = np.random.default_rng(0)
CLASS_N, CHANCE_NC = RNG.integers(0, 4, 60), RNG.dirichlet(np.ones(4), 60).round(1) + 0.025
CHANCE_NC /= CHANCE_NC.sum(1, keepdims=True)
LABEL_NC, WEIGHT_N = (RNG.random((60, 4)) < 0.4).astype(int), RNG.integers(0, 3, 60)
OVR = [{"multi_class": "ovr", "average": average} for average in ("macro", "weighted", "micro", None)]
OVO = [{"multi_class": "ovo", "average": average} for average in ("macro", "weighted")]


def equal(name: str, *arguments: Any, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, other = (getattr(module, name)(*arguments, **options) for module in (metrics, theirs))
    np.testing.assert_array_equal(ours, other)


@pytest.mark.parametrize("options", [*OVR, *OVO, *({**one, "sample_weight": WEIGHT_N} for one in OVR)])
def test_several_classes(options: Any) -> None:
    equal("roc_auc_score", CLASS_N, CHANCE_NC, **options)
    equal("roc_auc_score", np.array(list("dabc"))[CLASS_N], CHANCE_NC, **options)
    few = np.minimum(CLASS_N, 2)
    equal("roc_auc_score", few, CHANCE_NC, labels=[0, 1, 2, 3], **options)


@pytest.mark.parametrize(
    ("average", "weight"), list(product(("macro", "weighted", "micro", "samples", None), (None, WEIGHT_N)))
)
def test_several_labels(average: Any, weight: Any) -> None:
    some = LABEL_NC.any(1) & ~LABEL_NC.all(1)
    weight = None if weight is None else weight[some]
    for name in ("roc_auc_score", "average_precision_score"):
        equal(name, LABEL_NC[some], CHANCE_NC[some], average=average, sample_weight=weight)
    missing = LABEL_NC[some] * [0, 1, 1, 1]
    equal("roc_auc_score", missing, CHANCE_NC[some], average=average, sample_weight=weight)
    equal("average_precision_score", missing * 0, CHANCE_NC[some], average=average, sample_weight=weight)


@pytest.mark.parametrize("average", ["macro", "weighted", "micro", None])
def test_average_precision_of_several_classes(average: Any) -> None:
    equal("average_precision_score", CLASS_N, CHANCE_NC, average=average)


def test_one_against_one_by_hand() -> None:
    y, p = [0, 1, 2], np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    # Classes 0 and 1: by column 0 the wrong way round, by column 1 a tie; the other two pairs are in order.
    assert metrics.roc_auc_score(y, p, multi_class="ovo") == pytest.approx((0.25 + 1 + 1) / 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multi_class": "ovr", "max_fpr": 0.5}, "max_fpr"),
        ({"multi_class": "ovo", "average": "micro"}, "ovo takes"),
        ({"multi_class": "ovo", "sample_weight": WEIGHT_N}, "ovo takes"),
        ({"multi_class": "ovr", "average": "samples"}, "average"),
        ({"multi_class": "ovr", "average": "none"}, "average"),
        ({"multi_class": "ovr", "labels": [0, 1, 2]}, "a column a class"),
        ({"multi_class": "ovr", "labels": [3, 2, 1, 0]}, "sorted"),
        ({"multi_class": "ovr", "labels": [0, 1, 2, 9]}, "not in labels"),
    ],
)
def test_what_does_not_combine_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.roc_auc_score(CLASS_N, CHANCE_NC, **options)


def test_scores_of_classes_must_be_probabilities() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        metrics.roc_auc_score(CLASS_N, CHANCE_NC * 2, multi_class="ovr")
    for pos_label, y in ((2, [0, 1]), (2, CLASS_N)):
        with pytest.raises(ValueError, match="pos_label"):
            metrics.average_precision_score(y, np.ones(len(y)), pos_label=pos_label)
