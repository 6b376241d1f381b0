"""SciPy's L-BFGS-B: bounds of [0, 1] on every pixel, its own state on the host in float64."""

import contextlib
import hashlib
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.gatys.chunk import evaluate_picture
from nstjax.gatys.history import Recorder, to_picture
from nstjax.gatys.memory import GetObjective, Tiling


class _Stop(Exception):
    """Ends SciPy's minimisation from within."""


class _Minimisation:
    """What SciPy calls: the objective, and the report of each step it accepts.

    Attributes:
        good: the picture of the last step with a finite objective.
    """

    def __init__(
        self,
        tiling: Tiling,
        objective: GetObjective,
        start: Float[np.ndarray, "1 h w 3"],
        recorder: Recorder,
    ):
        self.good = start
        self._tiling = tiling
        self._objective = objective
        self._recorder = recorder
        self._evaluations = 0
        # SciPy asks again for points that it has seen: the start, and each one that it accepts. Of
        # a line search's points only the newest is kept, as each holds a gradient.
        self._seen: dict[bytes, tuple[float, np.ndarray, dict[str, float]]] = {}
        self._accepted = b""

    def value_and_gradient(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Evaluates the objective and its gradient, once for each picture."""
        key = _key(flat)
        if key not in self._seen:
            self._seen = {k: seen for k, seen in self._seen.items() if k == self._accepted}
            picture = jnp.asarray(flat.reshape(self.good.shape), jnp.float32)
            total, gradient, terms = self._tiling.run(
                lambda: jax.device_get(evaluate_picture(*self._objective(), picture))
            )
            self._recorder.recipe = self._tiling.recipe
            self._evaluations += 1
            raw = {name: float(term) for name, term in terms.items()}
            self._seen[key] = float(total), gradient.astype(np.float64).ravel(), raw
            if not math.isfinite(total):
                self._record(key)
        total, gradient, _ = self._seen[key]
        return total, gradient

    def accept(self, flat: np.ndarray) -> None:
        """Records a step and reports it."""
        self.value_and_gradient(flat)
        key = self._accepted = _key(flat)
        self._seen = {key: self._seen[key]}
        self.good = flat.reshape(self.good.shape).astype(np.float32)
        self._record(key)

    def _record(self, key: bytes) -> None:
        total, _, raw = self._seen[key]
        self._recorder.add(total, raw, self._evaluations, self._recorder.elapsed())
        self._recorder.report(lambda: self.good)
        if self._recorder.ended:
            raise _Stop


def _key(flat: np.ndarray) -> bytes:
    return hashlib.sha256(flat.data).digest()


def run_scipy(
    tiling: Tiling,
    objective: GetObjective,
    image: Float[Array, "1 h w 3"],
    steps: int,
    recorder: Recorder,
) -> Float[Array, "1 h w 3"]:
    """Runs SciPy's minimiser, which reports each step; see `nstjax.gatys.loop.optimize`."""
    from scipy.optimize import fmin_l_bfgs_b

    recipe, start = tiling.recipe, to_picture(image)
    minimisation = _Minimisation(tiling, objective, start, recorder)
    flat = start.astype(np.float64).ravel()
    with contextlib.suppress(_Stop):
        minimisation.accept(flat)
        if steps:
            # Not `minimize`, which makes and keeps a pair of bounds for each value: 16 pictures
            # more. Here all values share one pair.
            *_, found = fmin_l_bfgs_b(
                minimisation.value_and_gradient,
                flat,
                m=recipe.history_size,
                bounds=[(0.0, 1.0)] * flat.size,
                maxfun=math.ceil(steps * recipe.evaluations_per_step),
                maxiter=steps,
                callback=minimisation.accept,
            )
            if found["nit"] < steps:
                recorder.end_stage(f"L-BFGS-B ended: {' '.join(found['task'].lower().split())}")
    return jnp.asarray(minimisation.good)
