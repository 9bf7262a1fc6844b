"""Functions compiled before their first call."""

import chex
import jax
import jax.numpy as jnp
import pytest
from bert_glue.devices import memory
from bert_glue.training import program as module
from bert_glue.training.program import Program, clock


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


def test_programs_make_room_for_others(monkeypatch):
    shape = jax.ShapeDtypeStruct((3,), jnp.float32)
    first, second, third = (Program(lambda x, n=n: n * x) for n in range(3))
    first.compile(shape)
    second.compile(shape)
    monkeypatch.setattr(
        module.memory, "maps_are_short", lambda: first.compiled is not None
    )
    third.compile(shape)
    assert first.compiled is None
    assert second.compiled is not None
    # It is compiled again where it is needed again, or else by a call.
    assert first(jnp.ones(3)).tolist() == [0, 0, 0]
    monkeypatch.setattr(module.memory, "maps_are_short", lambda: True)
    first.compile(shape)
    assert first.compiled is not None
    assert second.compiled is third.compiled is None
    assert third(jnp.ones(3)).tolist() == [2, 2, 2]


@pytest.mark.cpu
@pytest.mark.skipif(not memory.count_maps(), reason="this system counts no mappings")
def test_a_program_gives_its_mappings_back(monkeypatch):
    def many_kernels(x):
        for _ in range(30):
            x = jnp.sort(jnp.sin(x) @ x)
        return x

    shape = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    first, second = Program(many_kernels), Program(many_kernels)
    before = memory.count_maps()
    first.compile(shape)
    taken = memory.count_maps() - before
    assert taken > 20
    monkeypatch.setattr(module.memory, "maps_are_short", lambda: True)
    second.compile(shape)
    assert memory.count_maps() - before < 1.5 * taken


def test_an_argument_that_is_donated_is_used_up():
    program = Program(lambda x: x + 1, donate_argnums=(0,))
    x = jnp.zeros(4)
    assert program(x).tolist() == [1] * 4
    assert x.is_deleted()


def test_the_clock_stands_while_a_program_is_compiled(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def slow_to_trace(x):
        now[0] += 100.0
        return 2 * x

    began = clock()
    ahead, lazy = Program(slow_to_trace), Program(slow_to_trace)
    ahead.compile(jax.ShapeDtypeStruct((3,), jnp.float32))
    lazy(jnp.ones(3))
    assert clock() == began
    # But not while it runs, and whatever else is done.
    lazy(jnp.ones(3))
    now[0] += 5.0
    assert clock() == began + 5.0
