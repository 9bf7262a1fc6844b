"""Kernels of a program, counted by hand."""

import clipping_kernels

PROGRAM = """\
HloModule step

%fused (a.1: f32[8]) -> f32[] {
  ROOT %r.1 = f32[] reduce(%a.1), dimensions={0}, to_apply=%add
}

ENTRY %main (a: f32[8]) -> (f32[8], f32[]) {
  %a = f32[8]{0} parameter(0)
  %one = f32[] constant(1)
  %slice-start.1 = (f32[8]{0}, f32[8]{0}, u32[]) slice-start(%a)
  %slice-done.1 = f32[8]{0} slice-done(%slice-start.1)
  %norm = f32[] fusion(%a), kind=kLoop, calls=%fused
  %root = f32[] sqrt(%norm)
  %scale = f32[] divide(%one, %root)
  %loop = (f32[8]{0:T(8)}, f32[8]{0}) fusion(%a, %scale), kind=kLoop, calls=%fused
  %all.1 = f32[2]{0} concatenate(%norm, %root)
  ROOT %t = (f32[8]{0}, f32[]) tuple(%loop, %scale)
}
"""


def test_kernels_and_scalars():
    # Norm, loop and concatenation; the root and the quotient.
    assert clipping_kernels.kernels(PROGRAM) == (3, 2)
