"""Trees of arrays by the names of their leaves."""

from typing import Any

import jax


def named_leaves(tree: Any) -> dict[str, Any]:
    """Names a tree's leaves by their path.

    Args:
        tree: of dicts, tuples and named tuples.

    Returns:
        The leaves by name, such as `opt_state/0/mu/conv1/kernel`.

    Example:
        >>> named_leaves({"conv1": {"kernel": 1, "bias": 2}})
        {'conv1/bias': 2, 'conv1/kernel': 1}
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
