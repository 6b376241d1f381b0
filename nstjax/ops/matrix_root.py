"""Square roots of matrices, computed by matrix products alone, and their gradients likewise."""

from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# If a GPU or TPU rounded the factors of a product, the iterations would not converge.
_product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def matrix_square_root(matrix: Float[Array, "n c c"], *, steps: int = 12) -> Float[Array, "n c c"]:
    r"""Computes the square roots of symmetric positive definite matrices.

    By the coupled Newton–Schulz iteration: from $Y_0 = A / \lVert A \rVert$ and $Z_0 = I$,

    $$ Y_{k+1} = Y_k T_k, \quad Z_{k+1} = T_k Z_k, \quad T_k = (3 I - Z_k Y_k) / 2, $$

    $Y$ converges to the root of $Y_0$ and $Z$ to its inverse.

    The gradient solves $S X + X S = G$ for the root $S$ and its own gradient $G$, by the
    Newton–Schulz iteration for the sign of the matrix $[[S, G], [0, -S]]$, which is
    $[[I, 2 X], [0, -I]]$. It needs nothing of the forward iteration but the root.

    A step multiplies the root of a small eigenvalue by 1.5 until it has converged. Twelve steps are
    enough for eigenvalues above a hundred thousandth of the matrix's norm. Smaller ones are
    underestimated, and their gradients bounded, so that float32 suffices for matrices of low rank.
    With many more steps, the rounding errors of eigenvalues of 0 would grow as well, and without
    bound if they are negative.

    Args:
        matrix: shape (N, C, C), symmetric, with no negative eigenvalue and at least one positive.
        steps: of each of the two iterations.

    Returns:
        The symmetric roots, shape (N, C, C). They can be differentiated once.

    Example:
        >>> import jax.numpy as jnp
        >>> matrix_square_root(jnp.array([[[5.0, 4.0], [4.0, 5.0]]])).round(3).tolist()
        [[[2.0, 1.0], [1.0, 2.0]]]

    Source: Higham, "Functions of Matrices", 2008, section 6.7; Lin and Maji, "Improved Bilinear
    Pooling with CNNs", 2017, for the gradient.
    """
    return _square_root(steps, matrix)


def trace_of_square_root(matrix: Float[Array, "n c c"], *, steps: int = 12) -> Float[Array, " n"]:
    """Computes the traces of matrices' square roots.

    The gradient is that of `matrix_square_root`, for half the products: a trace's own gradient is a
    multiple of the identity, so that all of the iteration's matrices commute.

    Args:
        matrix: as for `matrix_square_root`.
        steps: likewise.

    Returns:
        The traces, shape (N,). They can be differentiated once.

    Example:
        >>> import jax.numpy as jnp
        >>> trace_of_square_root(jnp.array([[[5.0, 4.0], [4.0, 5.0]]])).round(3).tolist()
        [4.0]
    """
    return _trace(steps, matrix)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _square_root(steps: int, matrix: Array) -> Array:
    norm, identity = _norm(matrix), _identity_like(matrix)

    def step(_: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        y, z = pair
        t = (3 * identity - _product(z, y)) / 2
        return _product(y, t), _product(t, z)

    root, _ = jax.lax.fori_loop(0, steps, step, (matrix / norm, identity))
    return root * jnp.sqrt(norm)


def _forward(steps: int, matrix: Array) -> tuple[Array, Array]:
    root = cast(Array, _square_root(steps, matrix))
    return root, root


def _backward(steps: int, root: Array, gradient: Array) -> tuple[Array]:
    norm, identity = _norm(root), _identity_like(root)

    def step(_: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        """The upper half of the block matrix; the lower one is the negative of its left part."""
        s, x = pair
        t = 3 * identity - _product(s, s)
        commutator = _product(s, x) - _product(x, s)
        return _product(s, t) / 2, (_product(x, t) - _product(s, commutator)) / 2

    _, twice = jax.lax.fori_loop(0, steps, step, (root / norm, gradient / norm))
    return (twice / 2,)


_square_root.defvjp(_forward, _backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _trace(steps: int, matrix: Array) -> Array:
    return jnp.trace(_square_root(steps, matrix), axis1=1, axis2=2)


def _trace_forward(steps: int, matrix: Array) -> tuple[Array, Array]:
    root = cast(Array, _square_root(steps, matrix))
    return jnp.trace(root, axis1=1, axis2=2), root


def _trace_backward(steps: int, root: Array, gradient: Array) -> tuple[Array]:
    norm, identity = _norm(root), _identity_like(root)

    def step(_: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        s, x = pair
        t = (3 * identity - _product(s, s)) / 2
        return _product(s, t), _product(x, t)

    _, inverse = jax.lax.fori_loop(0, steps, step, (root / norm, identity / norm))
    return (gradient[:, None, None] * inverse / 2,)


_trace.defvjp(_trace_forward, _trace_backward)


def _norm(matrix: Array) -> Array:
    """The Frobenius norm, which no eigenvalue exceeds."""
    return jnp.sqrt(jnp.sum(jnp.square(matrix), (1, 2), keepdims=True))


def _identity_like(matrix: Array) -> Array:
    identity = jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    return jnp.broadcast_to(identity, matrix.shape)
