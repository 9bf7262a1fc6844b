"""What clipping costs, read from compiled programs rather than from a clock."""

import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import optax
import pytest

import cwgnc_jax
from cwgnc_jax import contrib

pytestmark = pytest.mark.cpu

BIG = {
    "embedding": jax.ShapeDtypeStruct((3000, 256), jnp.float32),
    "stack": jax.ShapeDtypeStruct((6, 256, 1024), jnp.float32),
    "fused": jax.ShapeDtypeStruct((256, 768), jnp.float32),
}
STACKED = cwgnc_jax.fused("fused", ("q", "k", "v"), base=cwgnc_jax.stacked("stack"))

# What fuses is the compiler's choice: older ones write the squares to memory.
needs_recent_compiler = pytest.mark.skipif(
    tuple(map(int, jax.__version__.split(".")[:2])) < (0, 10),
    reason="measured with the compiler of jax 0.10 and later",
)


def compile_step(clip, params):
    """A donated AdamW step behind a clipping, compiled."""
    tx = optax.chain(*([] if clip is None else [clip]), optax.adamw(1e-3))

    def step(params, state, gradients):
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.eval_shape(tx.init, params)
    return jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params).compile()


@needs_recent_compiler
@pytest.mark.parametrize("components", [None, STACKED])
def test_no_temporary_of_a_gradients_size(components):
    compiled = compile_step(cwgnc_jax.clip_by_component_norm(0.05, components), BIG)
    temporary = compiled.memory_analysis().temp_size_in_bytes
    # Sums over columns before they are cut into parts; the smallest leaf has 768 KiB.
    assert temporary < 16 * 1024


@needs_recent_compiler
@pytest.mark.parametrize("components", [None, STACKED])
def test_bytes_moved_are_those_of_one_more_read(components):
    clip = cwgnc_jax.clip_by_component_norm(0.05, components)
    bare, clipped = (
        compile_step(tx, BIG).cost_analysis()["bytes accessed"] for tx in (None, clip)
    )
    gradients = sum(4 * leaf.size for leaf in BIG.values())
    assert clipped <= 1.05 * (bare + gradients)


def test_a_step_of_two_leaves_is_read_in_five_files():
    """What a reader opens to follow one init and one update, from first to last."""
    folder = pathlib.Path(cwgnc_jax.__file__).parent
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    entered = set()

    def note(frame, event, _):
        file = pathlib.Path(frame.f_code.co_filename)
        if event == "call" and folder in file.parents:
            name = frame.f_code.co_name
            entered.add((file.name, name)) if name.isidentifier() else None

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        tx = cwgnc_jax.clip_by_component_norm(0.5)
        tx.update(params, tx.init(params))
    finally:
        sys.setprofile(before)
    files = {file for file, _ in entered}
    # Numbers that users give are checked in a sixth, before there is a step.
    assert files - {"_numbers.py"} == {
        "_clip.py",
        "_thresholds.py",
        "_norms.py",
        "_layout.py",
        "_paths.py",
    }
    assert len(entered) <= 50


def test_no_branches_and_no_more_kernels_than_the_global_norm():
    leaves = 12
    params = {
        f"p{i}": jax.ShapeDtypeStruct((32 + i, 64), jnp.float32) for i in range(leaves)
    }
    text = {
        name: compile_step(clip, params).as_text()
        for name, clip in {
            "component": cwgnc_jax.clip_by_component_norm(0.05),
            "global": optax.clip_by_global_norm(1.0),
        }.items()
    }
    assert " conditional(" not in text["component"]
    kernels = {name: len(re.findall(r" fusion\(", t)) for name, t in text.items()}
    # A few for the state, which is recorded in the same step.
    assert kernels["component"] <= kernels["global"] + 10


def loops_over_leaves(tx, leaves):
    """Size of a compiled update, texts of its loops over leaves, and of its kernels."""
    params = {
        f"p{i:02d}": jax.ShapeDtypeStruct((8, 16), jnp.float32) for i in range(leaves)
    }
    state = jax.eval_shape(tx.init, params)
    text = jax.jit(tx.update).lower(params, state, params).compile().as_text()
    text = re.sub(r",? metadata=\{[^}]*\}", "", text)
    found = re.findall(r"^%\w+[.\w]* \([^)]*\) -> (\S+) \{(.*?)^\}", text, re.M | re.S)
    # Names are numbered through.
    bodies = [
        (shape, re.sub(r"(%\w+?)[.\d_]*\b", r"\1", body)) for shape, body in found
    ]
    loops = [body for shape, body in bodies if shape.startswith("f32[8,16]")]
    return len(text), loops, {body for _, body in bodies}


@needs_recent_compiler
@pytest.mark.parametrize(
    "make",
    [
        lambda _: cwgnc_jax.clip_by_component_norm(0.05),
        lambda leaves: cwgnc_jax.clip_by_component_norm(
            [(f"p{i:02d}", 0.01 * (i + 1)) for i in range(leaves)]
        ),
        lambda _: contrib.adagc(),
        lambda _: contrib.autoclip_by_component_norm(),
    ],
    ids=["one threshold", "different thresholds", "adagc", "autoclip"],
)
def test_programs_grow_with_the_leaves_and_not_faster(make):
    few, some, many = (loops_over_leaves(make(n), n) for n in (4, 8, 16))
    # Twice as many leaves more, twice as much text more, and some for longer numbers.
    # AdaGC's was 1.6 times that: the norms of all leaves were added up for each.
    assert many[0] - some[0] < 1.1 * 2 * (some[0] - few[0])
    # Loops that are alike are compiled once: limits must not be constants in them.
    assert len(many[1]) == 16
    assert len(set(many[1])) == 1
    # So are the kernels that compute a leaf's scale.
    assert len(many[2]) <= len(some[2]) + 2


def test_frozen_layers_cost_no_backward_pass():
    width, depth = 32, 6
    params = {f"layer_{i}": jnp.ones((width, width)) for i in range(depth)}
    labels = {
        name: "trainable" if i >= depth - 2 else "frozen"
        for i, name in enumerate(params)
    }

    def forward(params, x):
        for i in range(depth):
            x = jnp.tanh(x @ params[f"layer_{i}"])
        return jnp.sum(x**2)

    tx = optax.partition(
        {"trainable": cwgnc_jax.cwgnc_adamw(1e-3), "frozen": optax.set_to_zero()},
        labels,
    )

    @jax.jit
    def whole(params, state, x):
        gradients = jax.grad(forward)(params, x)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    inner = cwgnc_jax.cwgnc_adamw(1e-3)

    @jax.jit
    def without(trainable, state, frozen, x):
        gradients = jax.grad(lambda t: forward(frozen | t, x))(trainable)
        updates, state = inner.update(gradients, state, trainable)
        return optax.apply_updates(trainable, updates), state

    def flops(step, *args):
        return step.lower(*args).compile().cost_analysis()["flops"]

    x = jnp.ones((16, width))
    trainable = {n: p for n, p in params.items() if labels[n] == "trainable"}
    frozen = {n: p for n, p in params.items() if labels[n] == "frozen"}
    frozen_step = flops(whole, params, tx.init(params), x)
    bare_step = flops(without, trainable, inner.init(trainable), frozen, x)
    assert frozen_step == bare_step
