"""Bytes and kernels, counted in compiled programs and in written ones."""

import hlo_counts
import jax
import jax.numpy as jnp
import pytest

PROGRAM = """
HloModule step, is_scheduled=true

%slice (p0: f32[6,8,128], p1: s32[]) -> f32[8,128] {
  %p0 = f32[6,8,128]{2,1,0:T(8,128)} parameter(0)
  %p1 = s32[]{:T(128)S(6)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %cut = f32[1,8,128]{2,1,0:T(8,128)} dynamic-slice(%p0, %p1, %zero, %zero), dynamic_slice_sizes={1,8,128}
  ROOT %flat = f32[8,128]{1,0:T(8,128)} bitcast(%cut)
}

%write (q0: bf16[6,8,128], q1: f32[8,128], q2: s32[]) -> bf16[6,8,128] {
  %q0 = bf16[6,8,128]{2,1,0:T(8,128)(2,1)} parameter(0)
  %q1 = f32[8,128]{1,0:T(8,128)S(1)} parameter(1)
  %q2 = s32[]{:T(128)S(6)} parameter(2)
  %low = bf16[8,128]{1,0:T(8,128)(2,1)} convert(%q1)
  %one = bf16[1,8,128]{2,1,0:T(8,128)(2,1)} bitcast(%low)
  %none = s32[]{:T(128)} constant(0)
  ROOT %put = bf16[6,8,128]{2,1,0:T(8,128)(2,1)} dynamic-update-slice(%q0, %one, %q2, %none, %none)
}

%body (carry: (s32[], f32[6,8,128], bf16[6,8,128])) -> (s32[], f32[6,8,128], bf16[6,8,128]) {
  %carry = (s32[]{:T(128)}, f32[6,8,128]{2,1,0:T(8,128)}, bf16[6,8,128]{2,1,0:T(8,128)(2,1)}) parameter(0)
  %at = s32[]{:T(128)S(6)} get-tuple-element(%carry), index=0
  %stack = f32[6,8,128]{2,1,0:T(8,128)} get-tuple-element(%carry), index=1
  %out = bf16[6,8,128]{2,1,0:T(8,128)(2,1)} get-tuple-element(%carry), index=2
  %layer = f32[8,128]{1,0:T(8,128)S(1)} fusion(%stack, %at), kind=kLoop, calls=%slice, metadata={op_name="jit(step)/while/body/dynamic_slice"}
  %kept = bf16[6,8,128]{2,1,0:T(8,128)(2,1)} fusion(%out, %layer, %at), kind=kLoop, calls=%write
  %step = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)} add(%at, %step)
  ROOT %again = (s32[]{:T(128)}, f32[6,8,128]{2,1,0:T(8,128)}, bf16[6,8,128]{2,1,0:T(8,128)(2,1)}) tuple(%next, %stack, %kept)
}

%cond (state: (s32[], f32[6,8,128], bf16[6,8,128])) -> pred[] {
  %state = (s32[]{:T(128)}, f32[6,8,128]{2,1,0:T(8,128)}, bf16[6,8,128]{2,1,0:T(8,128)(2,1)}) parameter(0)
  %counter = s32[]{:T(128)} get-tuple-element(%state), index=0
  %limit = s32[]{:T(128)} constant(6)
  ROOT %less = pred[]{:T(512)} compare(%counter, %limit), direction=LT
}

ENTRY %main (a: f32[6,8,128]) -> bf16[6,8,128] {
  %a = f32[6,8,128]{2,1,0:T(8,128)} parameter(0)
  %start = s32[]{:T(128)} constant(0)
  %empty = bf16[6,8,128]{2,1,0:T(8,128)(2,1)} custom-call(), custom_call_target="AllocateBuffer"
  %init = (s32[]{:T(128)}, f32[6,8,128]{2,1,0:T(8,128)}, bf16[6,8,128]{2,1,0:T(8,128)(2,1)}) tuple(%start, %a, %empty)
  %loop = (s32[]{:T(128)}, f32[6,8,128]{2,1,0:T(8,128)}, bf16[6,8,128]{2,1,0:T(8,128)(2,1)}) while(%init), condition=%cond, body=%body
  %result = bf16[6,8,128]{2,1,0:T(8,128)(2,1)} get-tuple-element(%loop), index=2
  %fast = (bf16[6,8,128]{2,1,0:T(8,128)(2,1)S(1)}, bf16[6,8,128]{2,1,0:T(8,128)(2,1)}, u32[]{:S(2)}) copy-start(%result)
  ROOT %done = bf16[6,8,128]{2,1,0:T(8,128)(2,1)S(1)} copy-done(%fast)
}
"""  # noqa: E501


def test_a_written_program():
    layer = 8 * 128
    found = [
        (kernel.instruction.name, kernel.times, kernel.read, kernel.written)
        for kernel in hlo_counts.kernels(PROGRAM)
    ]
    assert found == [
        ("empty", 1, 0, 0),
        # A slice is read, not the stack, and its copy lies in fast memory.
        ("layer", 6, 4 * layer, 0),
        ("kept", 6, 0, 2 * layer),
        ("fast", 1, 6 * 2 * layer, 0),
    ]
    causes = hlo_counts.by_cause(
        hlo_counts.kernels(PROGRAM), lambda kernel: kernel.instruction.op_name[-5:]
    )
    assert causes["slice"] == (6 * 4 * layer, 6)


@pytest.mark.cpu
def test_a_compiled_program():
    """Seven products of a scan, and the loop over steps that is asked for alone."""

    def steps(stack, hidden, count):
        def step(_, hidden):
            return jax.lax.scan(lambda h, kernel: (h @ kernel, None), hidden, stack)[0]

        return jax.lax.fori_loop(0, count, step, jnp.sin(hidden))

    shapes = jax.ShapeDtypeStruct((7, 64, 64), "float32")
    hidden = jax.ShapeDtypeStruct((32, 64), "float32")
    text = jax.jit(steps).lower(shapes, hidden, 5).compile().as_text()
    found = list(hlo_counts.kernels(text))
    products = [each for each in found if "dot" in each.instruction.op_name]
    assert sum(each.times for each in products) == 7
    assert not any("sin" in each.instruction.op_name for each in found)
    # Kernel, input and output of each, if slices are not copied before.
    least = 7 * 4 * (64 * 64 + 2 * 32 * 64)
    assert least <= sum(each.moved for each in found) <= 4 * least
