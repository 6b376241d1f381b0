"""How whole programs made of these operations are compiled."""

from collections.abc import Callable
from functools import cache, cached_property, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

import jax

from nstjax.ops.heap import tidy_after_compilations

Args = ParamSpec("Args")
Result = TypeVar("Result")

# Products of matrices by Eigen in place of YNNPACK, which leaves cores idle in those of a few
# hundred rows, as Winograd's algorithm makes them: see benchmarks/layers.py.
_ON_CPU: dict[str, str | bool] = {"xla_cpu_experimental_ynn_fusion_type": ""}


@cache
def compiler_options() -> dict[str, str | bool]:
    """XLA's options for a program on the devices at hand, as `jax.jit` and `compile` take them.

    Returns:
        The options; none where XLA does not know them, or knows them no more.
    """
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0).lower().compile(_ON_CPU)
    except jax.errors.JaxRuntimeError:
        return {}
    return _ON_CPU


class Program(Generic[Args, Result]):
    """A function compiled with `compiler_options`. To be called from the outside, not in a trace.

    Example:
        >>> twice = Program(lambda x: 2 * x)
        >>> float(twice(3.0))
        6.0
    """

    def __init__(self, function: Callable[Args, Result], **how: Any) -> None:
        """Takes the function; compiles nothing, and does not start JAX, before the first call.

        Args:
            function: what to compile.
            how: arguments of `jax.jit`.
        """
        self._function, self._how = function, how
        update_wrapper(self, function)

    @cached_property
    def _jitted(self) -> Any:
        tidy_after_compilations()
        return jax.jit(self._function, compiler_options=compiler_options(), **self._how)

    def __call__(self, *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Runs it; the first time with arguments of these shapes, compiles it."""
        return self._jitted(*args, **kwargs)

    def compile(self, *args: Any) -> None:
        """Compiles it for arguments of these shapes, in place of the first call.

        Args:
            args: as of a call, by position, where `jax.ShapeDtypeStruct` may stand for arrays.
        """
        # JAX keeps what was lowered, and with it what was compiled, for calls with such arguments.
        self._jitted.lower(*args).compile()

    def lower(self, *args: Args.args, **kwargs: Args.kwargs) -> jax.stages.Lowered:
        """Lowers it, as that of `jax.jit`."""
        return self._jitted.lower(*args, **kwargs)
