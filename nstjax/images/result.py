"""A picture that was made, and how."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nstjax.images.save import save_image, to_pillow


@dataclass(frozen=True, kw_only=True, eq=False)
class MadePicture:
    """A picture with the settings that reproduce it.

    Attributes:
        image: RGB in [0, 1], float32, shape (1, H, W, 3).
        settings: everything needed to reproduce the picture.
        alpha: its transparency, shape (1, H, W, 1), or None.
    """

    image: Float[np.ndarray, "1 h w 3"] = field(repr=False)
    settings: dict[str, Any]
    alpha: Float[np.ndarray, "1 h w 1"] | None = field(default=None, repr=False)

    def save(self, path: str | Path, *, bits: int = 8) -> None:
        """Saves the picture with its settings; see `nstjax.images.save_image`."""
        settings = self.settings if bits == 8 else {**self.settings, "bits": bits}
        save_image(path, self.image, alpha=self.alpha, bits=bits, settings=settings)

    def _repr_png_(self) -> bytes:
        """Shows the picture in a notebook."""
        stream = io.BytesIO()
        to_pillow(self.image, self.alpha).save(stream, "png")
        return stream.getvalue()
