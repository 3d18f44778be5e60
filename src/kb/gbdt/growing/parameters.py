"""What a tree is grown by: LightGBM's parameters of its learner, under the names of its scikit-learn interface."""

from dataclasses import dataclass, fields

from kb.arguments import is_number, require_count


@dataclass(frozen=True)
class TreeParameters:
    """The rules by which one tree grows.

    Attributes:
        num_leaves: The most leaves.
        max_depth: The most splits above a leaf; -1 for no bound.
        min_child_samples: The fewest rows in a leaf; as in LightGBM, rows of a bin are inferred from its hessians.
        min_child_weight: The smallest sum of second derivatives in a leaf.
        min_split_gain: What a split must gain.
        reg_alpha: L1 penalty on a leaf's value.
        reg_lambda: L2 penalty on a leaf's value.
        cat_smooth: Added to the second derivatives by which categories are sorted, and the rows that one must have.
        cat_l2: Further L2 penalty in splits by sorted categories.
        max_cat_threshold: The most categories on the smaller side.
        max_cat_to_onehot: Up to so many categories one of them is split off; more are sorted.
        min_data_per_group: The fewest rows between two cuts of the sorted categories.

    Raises:
        ValueError: one is out of range; the message names it.
    """

    num_leaves: int = 31
    max_depth: int = -1
    min_child_samples: int = 20
    min_child_weight: float = 1e-3
    min_split_gain: float = 0.0
    reg_alpha: float = 0.0
    reg_lambda: float = 0.0
    cat_smooth: float = 10.0
    cat_l2: float = 10.0
    max_cat_threshold: int = 32
    max_cat_to_onehot: int = 4
    min_data_per_group: int = 100

    def __post_init__(self) -> None:
        require_count("num_leaves", self.num_leaves, least=2)
        for name in ("max_cat_threshold", "max_cat_to_onehot", "min_data_per_group"):
            require_count(name, getattr(self, name))
        require_count("min_child_samples", self.min_child_samples, least=0)
        if isinstance(self.max_depth, bool) or not isinstance(self.max_depth, int):
            raise ValueError(f"max_depth must be an integer, got {self.max_depth!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (float, "float") and not (is_number(value) and value >= 0):
                raise ValueError(f"{field.name} must be a number of at least 0, got {value!r}")
