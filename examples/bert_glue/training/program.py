"""A jitted function that may be compiled before its first call."""

import gc
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

import jax

from bert_glue.devices import memory

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


_compiling = 0.0
# Those that are compiled, the first ones first.
_loaded: "weakref.WeakKeyDictionary[Program[..., Any], None]" = (
    weakref.WeakKeyDictionary()
)


def clock() -> float:
    """Seconds, from any start: of a clock that stands while :class:`Program` compiles.

    Runs of the same work then take the same time, whichever of them come first.
    """
    return time.perf_counter() - _compiling


class Program(Generic[Arguments, Result]):
    """A function of arrays as a compiled program.

    Args:
      function: what to compile.
      donate_argnums: positions of arguments whose memory the results take over.

    Attributes:
      compiled: the program, once :meth:`compile` was called, until others take its
        place: there is no room for any number of programs.
    """

    def __init__(
        self,
        function: Callable[Arguments, Result],
        *,
        donate_argnums: Sequence[int] = (),
    ) -> None:
        # JAX's type of it knows no clear_cache.
        self._jitted: Any = jax.jit(function, donate_argnums=donate_argnums)
        self.compiled: jax.stages.Compiled | None = None
        self._compiled_for: Any = None
        self._is_called = False

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Runs the program, which its first call compiles if nothing did before."""
        global _compiling
        if self.compiled is not None:
            return self.compiled(*args, **kwargs)
        began = time.perf_counter()
        result = self._jitted(*args, **kwargs)
        if not self._is_called:
            # Results may be on their way yet: what took time here was compiling.
            _compiling += time.perf_counter() - began
        self._is_called = True
        return result

    def shapes(self, *arguments: Any) -> Result:
        """Shapes of the results for arguments, or their shapes."""
        return jax.eval_shape(self._jitted, *arguments)

    def lower(self, *arguments: Any, **named: Any) -> jax.stages.Lowered:
        """The program for arguments of these shapes, before it is compiled."""
        return self._jitted.lower(*arguments, **named)

    def compile(self, *arguments: Any, **named: Any) -> int:
        """Compiles it for arguments of these shapes, unless that is done already.

        Returns:
          Bytes of each device's memory that it takes while it runs; 0 where the
          compiler does not say.
        """
        global _compiling
        shapes = jax.eval_shape(lambda *same: same, arguments, named)
        if self.compiled is None or shapes != self._compiled_for:
            began = time.perf_counter()
            self._make_room()
            self.compiled = self.lower(*arguments, **named).compile()
            self._compiled_for = shapes
            _loaded[self] = None
            _compiling += time.perf_counter() - began
        return memory.program_bytes(self.compiled)

    def _make_room(self) -> None:
        """Lets go of the oldest programs as long as there is too little for another."""
        self.compiled = None
        _loaded.pop(self, None)
        while _loaded and memory.maps_are_short():
            oldest = next(iter(_loaded))
            oldest.compiled = None
            # What was lowered keeps what was compiled of it.
            oldest._jitted.clear_cache()
            del _loaded[oldest]
            gc.collect()
