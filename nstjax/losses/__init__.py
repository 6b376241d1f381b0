"""The losses of style transfer as pure functions of arrays, each with its divisor stated.

Published systems call the same three losses by the same names and divide them differently, so a
weight means nothing without its divisor. Every function here takes arrays first, says what it
divides by, accumulates in at least float32, and averages over the batch.
"""

from nstjax.losses.content import CONTENT_REDUCTIONS, content_loss
from nstjax.losses.style import GRAM_DIVISORS, STYLE_REDUCTIONS, gram_matrix, style_loss
from nstjax.losses.total_variation import TV_FORMS, total_variation

__all__ = [
    "CONTENT_REDUCTIONS",
    "GRAM_DIVISORS",
    "STYLE_REDUCTIONS",
    "TV_FORMS",
    "content_loss",
    "gram_matrix",
    "style_loss",
    "total_variation",
]
