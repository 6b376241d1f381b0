"""The losses of style transfer as pure functions of arrays, each with its divisor stated.

Published systems call the same losses by the same names and divide them differently, so a
weight means nothing without its divisor. Every function here takes arrays first, says what it
divides by, accumulates in at least float32, and averages over the batch.
"""

from nstjax.losses.comparison import STYLE_LOSSES
from nstjax.losses.content import CONTENT_REDUCTIONS, content_loss
from nstjax.losses.style import GRAM_DIVISORS, STYLE_REDUCTIONS, gram_matrix, style_loss
from nstjax.losses.total_variation import TV_FORMS, total_variation
from nstjax.losses.wasserstein import (
    Gaussian,
    Moments,
    feature_moments,
    gaussian,
    wasserstein2_loss,
)

__all__ = [
    "CONTENT_REDUCTIONS",
    "GRAM_DIVISORS",
    "STYLE_LOSSES",
    "STYLE_REDUCTIONS",
    "TV_FORMS",
    "Gaussian",
    "Moments",
    "content_loss",
    "feature_moments",
    "gaussian",
    "gram_matrix",
    "style_loss",
    "total_variation",
    "wasserstein2_loss",
]
