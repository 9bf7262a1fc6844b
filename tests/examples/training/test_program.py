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
def test_programs_that_make_room_give_their_mappings_back(monkeypatch):
    def program(number):
        def many_kernels(x):
            for _ in range(30):
                x = jnp.sort(jnp.sin(x) @ x) + number
            return x

        return Program(many_kernels)

    def taken(numbers):
        before = memory.count_maps()
        programs = [program(number) for number in numbers]
        for each in programs:
            each.compile(jax.ShapeDtypeStruct((64, 64), jnp.float32))
        return memory.count_maps() - before

    taken([0])  # what the first one takes for good
    monkeypatch.setattr(module.memory, "maps_are_short", lambda: True)
    making_room = taken(range(1, 7))
    monkeypatch.setattr(module.memory, "maps_are_short", lambda: False)
    assert making_room < taken(range(7, 13)) / 2


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
