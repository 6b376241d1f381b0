"""The style losses behind one interface: what is summed over a layer, and how sums are compared.

A form is static: its fields decide the compiled program. Its measures of a picture's rows add up to
that of the picture, and the mean of the measures of several pictures is a style, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, Float

from nstjax.losses.style import gram_matrix, style_loss
from nstjax.losses.wasserstein import (
    EPSILON,
    STEPS,
    Gaussian,
    Moments,
    feature_moments,
    gaussian,
    wasserstein2_loss,
)

STYLE_LOSSES = ("gram", "wasserstein2")


@dataclass(frozen=True)
class GramForm:
    """Gram matrices and their squared distance.

    Attributes:
        divisor: of the matrices, see `gram_matrix`.
        reduction: of the distance, see `style_loss`.
    """

    divisor: str = "hw"
    reduction: str = "mean"

    def measure(self, features: Float[Array, "n h w c"], positions: int) -> Array:
        """Measures some rows of a picture that has `positions` positions in all."""
        # An undivided matrix grows with the picture. The sources that use it scale the style image
        # to the picture's size. Dividing here, and multiplying by the picture's positions in
        # `compare`, is the same for them, and right for other sizes, too.
        divisor = "hw" if self.divisor == "1" else self.divisor
        return gram_matrix(features, divisor=divisor, positions=positions)

    def target(self, measured: Array) -> Array:
        """Turns a style's measure into a target for `compare`."""
        return measured

    def compare(self, measured: Array, target: Array, positions: int, pixels: int) -> Array:
        """Computes the loss of a layer, given its number of positions and the picture's size."""
        if self.divisor == "1":
            measured, target = positions * measured, positions * target
        return style_loss(
            measured,
            target,
            reduction=self.reduction,
            positions=pixels if self.reduction == "keras" else positions,
        )


@dataclass(frozen=True)
class Wasserstein2Form:
    """Moments and the Wasserstein distance of the normal distributions that have them.

    Attributes:
        epsilon: added to the variances.
        steps: of the matrix roots.
    """

    epsilon: float = EPSILON
    steps: int = STEPS

    def measure(self, features: Float[Array, "n h w c"], positions: int) -> Moments:
        """Measures some rows of a picture that has `positions` positions in all."""
        return feature_moments(features, positions=positions)

    def target(self, measured: Moments) -> Gaussian:
        """Turns a style's measure into a target for `compare`."""
        return gaussian(measured, epsilon=self.epsilon, steps=self.steps)

    def compare(self, measured: Moments, target: Gaussian, positions: int, pixels: int) -> Array:
        """Computes the loss of a layer; the numbers of positions and pixels do not matter."""
        del positions, pixels
        return wasserstein2_loss(measured, target, epsilon=self.epsilon, steps=self.steps)


StyleForm = GramForm | Wasserstein2Form


def average(measured: Sequence[Any], shares: Float[Array, " styles"]) -> Any:
    """Averages what a form measures of several pictures.

    Args:
        measured: trees of arrays, one for each picture.
        shares: of each in the average, adding up to 1.

    Returns:
        A tree like theirs.
    """
    return jax.tree.map(
        lambda *arrays: sum(share * a for share, a in zip(shares, arrays, strict=True)), *measured
    )
