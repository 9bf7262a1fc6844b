"""Clipping of sharded gradients on eight devices; test_shards.py runs it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import cwgnc_jax
from cwgnc_jax import contrib

try:
    shard_map = jax.shard_map
except AttributeError:  # Before jax 0.6.1 or so.
    from jax.experimental.shard_map import shard_map

SHAPES = {
    "stack": (8, 16, 8),
    "fused": (16, 24),
    "bias": (24,),
    "small": (3,),
    **{f"kernel{i}": (16, 8 * (1 + i % 3)) for i in range(4)},
}
COMPONENTS = cwgnc_jax.stacked(
    "stack", base=cwgnc_jax.fused("fused|bias", {"q": 10, "k": 6, "v": 8})
)
ONE_AXIS = {
    "stack": P(None, "x"),
    "fused": P("x"),
    "bias": P("x"),
    "small": P(),
    **{f"kernel{i}": P("x") if i % 2 else P(None, "x") for i in range(4)},
}
KEPT_AXIS = ONE_AXIS | {"stack": P("x"), "fused": P(None, "x")}
TWO_AXES = {
    "stack": P(("x", "y")),
    "fused": P("x", "y"),
    "bias": P("y"),
    "small": None,
    **{f"kernel{i}": P("x", "y") if i % 2 else P("y") for i in range(4)},
}


@pytest.fixture(scope="module")
def gradients():
    rng = np.random.default_rng(0)
    return {
        name: (10 ** rng.uniform(-2, 2) * rng.standard_normal(shape)).astype("f")
        for name, shape in SHAPES.items()
    }


@pytest.fixture(scope="module")
def expected(gradients):
    tx = cwgnc_jax.clip_by_component_norm(0.5, COMPONENTS)
    return jax.jit(tx.update)(gradients, tx.init(gradients))


def mesh_of(specs):
    if specs is TWO_AXES:
        return jax.make_mesh((2, 4), ("x", "y"), **auto(2))
    return jax.make_mesh((8,), ("x",), **auto(1))


def auto(axes):
    """Axes that the compiler sees to, in whatever way this jax spells it."""
    return {"axis_types": (jax.sharding.AxisType.Auto,) * axes}


def count(kind, compiled):
    return len(re.findall(rf" {kind}(?:-start)?\(", compiled.as_text()))


def assert_same(found, expected):
    # Sums in another order: a few units in the last place.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a), b, rtol=2e-6),
        found,
        expected,
    )


def shard(gradients, mesh, specs):
    return {
        name: jax.device_put(leaf, NamedSharding(mesh, specs[name] or P()))
        for name, leaf in gradients.items()
    }


def test_there_are_eight_devices():
    assert jax.device_count() == 8


@pytest.mark.parametrize("components", [None, COMPONENTS])
def test_jit_needs_one_all_reduce(gradients, components):
    mesh = mesh_of(ONE_AXIS)
    tx = optax.chain(
        cwgnc_jax.clip_by_component_norm(0.5, components), optax.adamw(1e-3)
    )
    step = jax.jit(tx.update)
    expected, _ = step(gradients, tx.init(gradients), gradients)
    sharded = shard(gradients, mesh, ONE_AXIS)
    state = tx.init(sharded)
    compiled = step.lower(sharded, state, sharded).compile()
    if tuple(map(int, jax.__version__.split(".")[:2])) >= (0, 10):
        # Older compilers do not combine all-reduces on CPU, of any norm, and gather
        # the sums of a split leaf's columns.
        assert count("all-reduce", compiled) == 1
        assert count("all-gather", compiled) == 0
    assert_same(step(sharded, state, sharded)[0], expected)


@pytest.mark.parametrize("specs", [KEPT_AXIS, TWO_AXES])
def test_jit_agrees_however_leaves_are_sharded(gradients, expected, specs):
    sharded = shard(gradients, mesh_of(specs), specs)
    tx = cwgnc_jax.clip_by_component_norm(0.5, COMPONENTS, specs=specs)
    found = jax.jit(tx.update)(sharded, tx.init(sharded))
    assert_same(found, expected)


has_explicit_axes = pytest.mark.skipif(
    not hasattr(jax.sharding, "reshard"), reason="not complete in older versions"
)


@has_explicit_axes
@pytest.mark.parametrize(
    ("specs", "components"),
    [(ONE_AXIS, None), (ONE_AXIS, COMPONENTS), (KEPT_AXIS, COMPONENTS)],
)
def test_jit_with_explicit_mesh_axes(gradients, specs, components):
    # What jax.make_mesh makes since 0.9: arrays' types then say how they are sharded.
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    tx = optax.chain(
        cwgnc_jax.clip_by_component_norm({"kernel1": None, ".*": 0.5}, components),
        contrib.adagc(components=components),
        contrib.adaptive_clip_by_component_norm(1.0, components=components),
    )
    state = tx.init(gradients)
    expected = jax.jit(tx.update)(gradients, state, gradients)
    sharded = shard(gradients, mesh, specs)
    update = jax.jit(tx.update)
    assert_same(update(sharded, tx.init(sharded), sharded), expected)
    if components is None:
        one = cwgnc_jax.clip_by_component_norm(0.5)
        compiled = jax.jit(one.update).lower(sharded, one.init(sharded)).compile()
        assert count("all-reduce", compiled) == 1


@has_explicit_axes
def test_entries_are_masked_with_explicit_mesh_axes(gradients):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    sharded = shard(gradients, mesh, ONE_AXIS)
    mask = contrib.fisher_mask(gradients, 0.3, leaves=".*")
    found = contrib.fisher_mask(sharded, 0.3, leaves=".*")
    for name, expected in mask.items():
        np.testing.assert_array_equal(found[name], expected)
    tx = contrib.keep_masked(mask)
    kept, _ = tx.update(sharded, tx.init(sharded))
    for name, expected in mask.items():
        np.testing.assert_array_equal(
            kept[name], np.where(expected, np.asarray(gradients[name]), 0)
        )


@has_explicit_axes
def test_layers_are_drawn_anew_with_explicit_mesh_axes():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    stack = {
        "kernel": np.ones((4, 3, 8), np.float32),
        "bias": np.ones((4, 8), np.float32),
    }
    ones = np.ones(3, np.float32)
    params = {"embed": ones, "layers": stack, "head": ones}
    specs = {"kernel": P(None, None, "x"), "bias": P(None, "x")}
    key = jax.random.key(0)
    expected = contrib.reinitialize_layers(params, key, 2)
    params["layers"] = shard(stack, mesh, specs)
    found = contrib.reinitialize_layers(params, key, 2)
    for name, spec in specs.items():
        assert found["layers"][name].sharding.spec == spec
        np.testing.assert_array_equal(found["layers"][name], expected["layers"][name])


@pytest.mark.parametrize(
    "specs", [ONE_AXIS, KEPT_AXIS, TWO_AXES], ids=["one", "kept", "two"]
)
def test_shard_map_needs_one_psum(gradients, expected, specs):
    mesh = mesh_of(specs)
    tx = cwgnc_jax.clip_by_component_norm(0.5, COMPONENTS, specs=specs)
    in_specs = {name: spec or P() for name, spec in specs.items()}
    update = jax.jit(
        shard_map(
            tx.update, mesh=mesh, in_specs=(in_specs, P()), out_specs=(in_specs, P())
        )
    )
    state = tx.init(gradients)
    assert str(jax.make_jaxpr(update)(gradients, state)).count("psum") == 1
    assert count("all-reduce", update.lower(gradients, state).compile()) == 1
    assert_same(update(gradients, state), expected)


def test_init_inside_shard_map_sees_whole_stacks(gradients):
    mesh = mesh_of(KEPT_AXIS)
    tx = cwgnc_jax.clip_by_component_norm(0.5, COMPONENTS, specs=KEPT_AXIS)
    init = shard_map(tx.init, mesh=mesh, in_specs=(KEPT_AXIS,), out_specs=P())
    whole = tx.init(gradients)
    for a, b in zip(jax.jit(init)(gradients), whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_component_norms_inside_shard_map(gradients, expected):
    mesh = mesh_of(TWO_AXES)
    in_specs = {name: spec or P() for name, spec in TWO_AXES.items()}
    norms_of = shard_map(
        lambda g: cwgnc_jax.component_norms(g, COMPONENTS, specs=TWO_AXES),
        mesh=mesh,
        in_specs=(in_specs,),
        out_specs=P(),
    )
    assert_same(jax.jit(norms_of)(gradients), expected[1].norms)


@pytest.mark.parametrize(
    "make",
    [
        lambda: contrib.adaptive_clip_by_component_norm(0.1, specs=TWO_AXES),
        lambda: contrib.adagc(specs=TWO_AXES),
        lambda: contrib.autoclip_by_component_norm(specs=TWO_AXES),
    ],
    ids=["agc", "adagc", "autoclip"],
)
def test_adaptive_clipping_inside_shard_map(gradients, make):
    mesh = mesh_of(TWO_AXES)
    in_specs = {name: spec or P() for name, spec in TWO_AXES.items()}
    tx = make()
    state = tx.init(gradients)
    expected = jax.jit(tx.update)(gradients, state, gradients)
    update = shard_map(
        tx.update,
        mesh=mesh,
        in_specs=(in_specs, P(), in_specs),
        out_specs=(in_specs, P()),
    )
    assert_same(jax.jit(update)(gradients, state, gradients), expected)


def test_nan_on_one_shard_stays_in_its_component(gradients):
    mesh = mesh_of(KEPT_AXIS)
    tx = cwgnc_jax.clip_by_component_norm(0.5, COMPONENTS, specs=KEPT_AXIS)
    bad = dict(gradients, stack=gradients["stack"].copy())
    bad["stack"][5, 3, 2] = np.nan
    update = shard_map(
        tx.update, mesh=mesh, in_specs=(KEPT_AXIS, P()), out_specs=(KEPT_AXIS, P())
    )
    clipped, state = jax.jit(update)(bad, tx.init(bad))
    names = cwgnc_jax.component_names(bad, COMPONENTS)
    nans = [name for name, norm in zip(names, state.norms, strict=True) if norm != norm]
    assert nans == ["stack[5]"]
    assert np.isnan(clipped["stack"][5]).all()
    assert np.isfinite(np.delete(np.asarray(clipped["stack"]), 5, axis=0)).all()


def test_specs_that_do_not_fit(gradients):
    mesh = mesh_of(ONE_AXIS)

    def init(specs):
        tx = cwgnc_jax.clip_by_component_norm(0.5, specs=specs)
        init = shard_map(tx.init, mesh=mesh, in_specs=(ONE_AXIS,), out_specs=P())
        jax.eval_shape(init, gradients)

    with pytest.raises(ValueError, match="specs do not fit the leaves:\n  'small: no"):
        init({name: spec for name, spec in ONE_AXIS.items() if name != "small"})
    with pytest.raises(ValueError, match=r"small: P.*\(None, 'x'\) for shape \(3,\)"):
        init(ONE_AXIS | {"small": P(None, "x")})
    with pytest.raises(TypeError, match=r"jax\.sharding\.PartitionSpec, got 'x' at"):
        init(ONE_AXIS | {"small": "x"})
    with pytest.raises(ValueError, match="mesh axis 'modle'"):
        init(ONE_AXIS | {"small": P("modle")})


def test_replicated_gradients_need_no_specs(gradients, expected):
    mesh = mesh_of(ONE_AXIS)
    tx = cwgnc_jax.clip_by_component_norm(0.5, COMPONENTS)

    def average_and_clip(g, state):
        g = jax.tree.map(lambda x: jax.lax.pmean(x, "x"), g)
        return tx.update(g, state)

    update = shard_map(
        average_and_clip, mesh=mesh, in_specs=(P("x"), P()), out_specs=P()
    )
    many = jax.tree.map(lambda g: np.tile(g, (8,) + (1,) * (g.ndim - 1)), gradients)
    state = tx.init(gradients)
    assert_same(jax.jit(update)(many, state), expected)
    assert jnp.all(state.norms == 0)
