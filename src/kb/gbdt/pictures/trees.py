"""Trees as pictures, ours and LightGBM's in one form.

Unusual: both libraries number splits and leaves alike, so a tree of LightGBM is read into our arrays as it stands, and
two trees that are drawn alike are alike.

Shapes: K splits, L = K + 1 leaves.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from kb import plotting


class Node(NamedTuple):
    """A split, or a leaf, whose feature is -1.

    Attributes:
        feature: By which it splits.
        threshold: The largest value that goes left.
        left, right: Places of the children in the list.
        value: What a leaf adds to a prediction.
        rows: How many there are.
    """

    feature: int
    threshold: float
    left: int
    right: int
    value: float
    rows: int


def nodes_of(tree: Any) -> list[Node]:
    """A tree as a list whose first node is the root, splits first, then leaves, both in the order in which they grew.

    Args:
        tree: A :class:`kb.gbdt.tree.Tree`, or a ``tree_structure`` of LightGBM's ``dump_model``; without categories.

    Raises:
        ValueError: a split is by category.
    """
    if isinstance(tree, dict):
        return _nodes_of_dump(tree)
    if tree.categories:
        raise ValueError("only trees that split by thresholds are drawn, and this one splits by category")
    K = len(tree.feature_K)
    places = [child if child >= 0 else K - 1 - child for side in (tree.left_K, tree.right_K) for child in side.tolist()]
    splits = zip(
        tree.feature_K.tolist(),
        tree.threshold_K.tolist(),
        places[:K],
        places[K:],
        tree.node_count_K.tolist(),
        strict=True,
    )
    nodes = [Node(feature, threshold, left, right, 0.0, rows) for feature, threshold, left, right, rows in splits]
    leaves = zip(tree.leaf_value_L.tolist(), tree.leaf_count_L.tolist(), strict=True)
    return nodes + [Node(-1, 0.0, -1, -1, value, rows) for value, rows in leaves]


def _nodes_of_dump(root: dict[str, Any]) -> list[Node]:
    splits: dict[int, dict[str, Any]] = {}
    leaves: dict[int, dict[str, Any]] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if "split_index" in node:
            if node["decision_type"] != "<=":
                raise ValueError("only trees that split by thresholds are drawn, and this one splits by category")
            splits[node["split_index"]] = node
            waiting += [node["left_child"], node["right_child"]]
        else:
            leaves[node.get("leaf_index", 0)] = node

    def place(child: dict[str, Any]) -> int:
        return int(child["split_index"]) if "split_index" in child else len(splits) + int(child["leaf_index"])

    found = []
    for _, node in sorted(splits.items()):
        sides = place(node["left_child"]), place(node["right_child"])
        found.append(Node(node["split_feature"], node["threshold"], *sides, 0.0, node["internal_count"]))
    for _, leaf in sorted(leaves.items()):
        found.append(Node(-1, 0.0, -1, -1, leaf["leaf_value"], leaf.get("leaf_count", 0)))
    return found


def draw_tree(axes: Any, nodes: Sequence[Node], names: Sequence[str]) -> None:
    """Draw a tree into axes of matplotlib: what a split asks, how many rows a leaf has, and what it says.

    Args:
        axes: Where to.
        nodes: From :func:`nodes_of`.
        names: Of the features.
    """
    where = _places(nodes)
    for node, (x, y) in zip(nodes, where, strict=True):
        if node.feature < 0:
            text, colour = f"{node.value:+.3g}\n{node.rows:,}", plotting.GREEN
        else:
            text, colour = f"{names[node.feature]}\n≤ {node.threshold:.3g}", plotting.BLUE
            for child in (node.left, node.right):
                axes.plot([x, where[child][0]], [y, where[child][1]], color=plotting.GREY, linewidth=1, zorder=1)
        box = {"boxstyle": "round,pad=0.25", "facecolor": plotting.CARD, "edgecolor": colour}
        axes.text(x, y, text, ha="center", va="center", fontsize=7.5, bbox=box, zorder=2)
    axes.margins(x=0.08, y=0.12)
    axes.axis("off")


def _places(nodes: Sequence[Node]) -> list[tuple[float, float]]:
    """Leaves side by side from left to right, each split above the middle of its children."""
    depth, order, waiting = {0: 0}, [], [0]
    while waiting:
        place = waiting.pop()
        order.append(place)
        node = nodes[place]
        if node.feature >= 0:
            depth[node.left] = depth[node.right] = depth[place] + 1
            waiting += [node.right, node.left]
    across: dict[int, float] = {}
    for place in order:
        if nodes[place].feature < 0:
            across[place] = float(len(across))
    for place in reversed(order):
        if nodes[place].feature >= 0:
            across[place] = (across[nodes[place].left] + across[nodes[place].right]) / 2
    return [(across[place], -float(depth[place])) for place in range(len(nodes))]
