"""How whole programs made of these operations are traced, compiled and kept."""

import contextlib
import inspect
from collections.abc import Callable
from functools import cache, cached_property, update_wrapper
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar, cast

import jax
from jax import export
from jax.core import Tracer

from nstjax.ops.heap import tidy_after_compilations
from nstjax.ops.traced import Traced, find_or_trace, name_of, traces_folder

Args = ParamSpec("Args")
Result = TypeVar("Result")

# Matrix products by Eigen instead of YNNPACK, which leaves cores idle in products of a few hundred
# rows, such as those of Winograd's algorithm: see benchmarks/layers.py.
_ON_CPU: dict[str, str | bool] = {"xla_cpu_experimental_ynn_fusion_type": ""}


@cache
def compiler_options() -> dict[str, str | bool]:
    """XLA's options for programs on the devices at hand, as `jax.jit` and `compile` take them.

    Returns:
        The options; empty where this version of XLA does not know them.
    """
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0).lower().compile(_ON_CPU)
    except jax.errors.JaxRuntimeError:
        return {}
    return _ON_CPU


class _Kept:
    """A program for arrays of certain shapes, made from the trace that is kept on disk."""

    def __init__(self, traced: Traced, shapes: list[jax.ShapeDtypeStruct], donated: list[int]):
        """Takes a traced function, the shapes, and which arrays' memory it may reuse."""
        self._traced, self._given, self._donated = traced, shapes, donated
        self._compiled: jax.stages.Compiled | None = None
        self._lock = Lock()

    def compile(self) -> jax.stages.Compiled:
        # Not left to `jax.jit`, which would compile again for arguments that are committed to a
        # device, as results of such calls are.
        with self._lock:  # one thread compiles, and the others wait for it
            if self._compiled is None:
                tidy_after_compilations()
                jitted = jax.jit(self._traced.program.call, donate_argnums=self._donated)
                self._compiled = jitted.lower(*self._given).compile(compiler_options())
            return self._compiled

    def __call__(self, leaves: list[Any]) -> Any:
        return jax.tree.unflatten(self._traced.result, self.compile()(*leaves))

    def shapes(self) -> Any:
        arrays = self._traced.program.out_avals
        found = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
        return jax.tree.unflatten(self._traced.result, found)


class Program(Generic[Args, Result]):
    """A function compiled with `compiler_options`. In a trace, it is like one from `jax.jit`.

    Where JAX keeps compiled programs on disk, traces are kept there, too: see `nstjax.ops.traced`.

    Example:
        >>> twice = Program(lambda x: 2 * x)
        >>> float(twice(3.0))
        6.0
    """

    def __init__(
        self,
        function: Callable[Args, Result],
        *,
        static_argnames: tuple[str, ...] = (),
        donate_argnames: tuple[str, ...] = (),
    ) -> None:
        """Takes the function. Nothing is compiled, and JAX is not started, before the first call.

        Args:
            function: what to compile.
            static_argnames: arguments that the program depends on: hashable, with a `repr` that
                identifies them.
            donate_argnames: arguments whose memory the program may reuse.
        """
        self._function: Callable[..., Any] = function
        self._static, self._donated = static_argnames, donate_argnames
        self._signature = inspect.signature(function)
        self._kept: dict[str, _Kept | None] = {}
        update_wrapper(self, function)

    @cached_property
    def _jitted(self) -> Any:
        tidy_after_compilations()
        return jax.jit(
            self._function,
            static_argnames=self._static,
            donate_argnames=self._donated,
            compiler_options=compiler_options(),
        )

    @cached_property
    def _in_a_trace(self) -> Any:
        return jax.jit(self._function, static_argnames=self._static)  # no options in a trace

    def __call__(self, *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Runs it, and compiles it the first time that arguments have these shapes."""
        # In a trace, new arrays are tracers; under `jax.grad` and `jax.vmap` only arguments are.
        in_a_trace = isinstance(jax.device_put(0), Tracer)
        if in_a_trace or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((args, kwargs))):
            return self._in_a_trace(*args, **kwargs)
        kept, leaves = self._find(*args, **kwargs)
        return self._jitted(*args, **kwargs) if kept is None else kept(leaves)

    def compile(self, *args: Any) -> None:
        """Compiles it for arguments of these shapes, so that the first call need not.

        Args:
            args: as in a call, by position; `jax.ShapeDtypeStruct` may stand for arrays.
        """
        kept, _ = self._find(*args)
        # JAX keeps the lowered program, and what was compiled, for calls with such arguments.
        if kept is None:
            self._jitted.lower(*args).compile()
        else:
            kept.compile()

    def shapes(self, *args: Any) -> Any:
        """Returns what a call would, with `jax.ShapeDtypeStruct` instead of arrays.

        Args:
            args: as for `compile`.
        """
        kept, _ = self._find(*args)
        return self._in_a_trace.eval_shape(*args) if kept is None else kept.shapes()

    def lower(self, *args: Args.args, **kwargs: Args.kwargs) -> jax.stages.Lowered:
        """Lowers it, as a function from `jax.jit` does."""
        return self._jitted.lower(*args, **kwargs)

    def _find(self, *args: Any, **kwargs: Any) -> tuple[_Kept | None, list[Any]]:
        """The program made from the trace on disk, or None; and the arrays it takes."""
        folder = traces_folder()
        if folder is None or not self._function.__module__.startswith("nstjax."):
            return None, []
        call = self._signature.bind(*args, **kwargs)
        call.apply_defaults()
        static = {name: call.arguments.pop(name) for name in self._static}
        found, tree = jax.tree_util.tree_flatten_with_path(call.arguments)
        leaves = [leaf for _, leaf in found]
        shapes = [_shape(leaf) for leaf in leaves]
        function = f"{self._function.__module__}.{self._function.__qualname__}"
        if " at 0x" in f"{static}":  # an object whose `repr` does not identify it
            return None, []
        name = name_of(f"{function} {static} {tree} {shapes}")
        if name not in self._kept:
            kept = None
            # If this fails, `jax.jit` works all the same, or says what is wrong.
            with contextlib.suppress(Exception):
                traced = find_or_trace(folder, name, lambda: self._trace(static, tree, shapes))
                owners = [cast(Any, path[0]).key for path, _ in found]
                donated = [i for i, owner in enumerate(owners) if owner in self._donated]
                kept = _Kept(traced, shapes, donated)
            self._kept.setdefault(name, kept)
        return self._kept[name], leaves

    def _trace(self, static: dict[str, Any], tree: Any, shapes: list[Any]) -> Traced:
        result = jax.tree.structure(None)

        def of_leaves(*leaves: Any) -> list[Any]:
            nonlocal result
            found: Any = self._function(**static, **jax.tree.unflatten(tree, leaves))
            values, result = jax.tree.flatten(found)
            return values

        return Traced(export.export(jax.jit(of_leaves))(*shapes), result)


def _shape(array: Any) -> jax.ShapeDtypeStruct:
    kind = jax.typeof(array) if not isinstance(array, jax.ShapeDtypeStruct) else array
    return jax.ShapeDtypeStruct(kind.shape, kind.dtype, weak_type=kind.weak_type)
