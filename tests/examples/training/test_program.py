"""Functions compiled before their first call."""

import chex
import jax
import jax.numpy as jnp
from bert_glue.training.program import Program


def test_compiled_once_before_or_at_its_first_call():
    def double(x):
        return 2 * x

    chex.clear_trace_counter()
    program = Program(chex.assert_max_traces(double, n=1))
    shape = jax.ShapeDtypeStruct((3,), jnp.float32)
    # What goes in and what comes out, at least.
    assert program.compile(shape) >= 24
    assert program.compile(shape) >= 24
    assert program.compiled is not None
    assert program(jnp.ones(3)).tolist() == [2, 2, 2]
    lazy = Program(double)
    assert lazy.shapes(shape).shape == (3,)
    assert lazy(jnp.ones(2)).tolist() == [2, 2]
    assert lazy.compiled is None


def test_an_argument_that_is_donated_is_used_up():
    program = Program(lambda x: x + 1, donate_argnums=(0,))
    x = jnp.zeros(4)
    assert program(x).tolist() == [1] * 4
    assert x.is_deleted()
