"""Random trees, maps, thresholds and dtypes against NumPy in double precision."""

import functools
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest

import cwgnc_jax
from cwgnc_jax import contrib

# Rounding of the result's dtype; norms of complex and real numbers are float32.
TOLERANCE = {"float32": 1e-5, "complex64": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}
WRAPPERS = ("jit", "scan", "vmap", "masked", "agc", "adagc")


class Case(NamedTuple):
    """A tree, a map, the pieces that it cuts, and thresholds."""

    leaves: dict[str, np.ndarray]
    dtypes: dict[str, str]
    components: Any
    pieces: oracles.Pieces
    max_norm: Any
    thresholds: dict[str, float | None]

    def tree(self, factor: float = 1.0) -> dict[str, jax.Array]:
        """The leaves in their dtypes."""
        return {
            path: jnp.asarray(leaf * factor, self.dtypes[path])
            for path, leaf in self.leaves.items()
        }


def make_pieces(kind, shapes, start):
    """A map by one of the library's makers, and the pieces that it is to cut."""
    stacked = [path for path in shapes if path.startswith("layers/")]
    parts = {"q": 1, "k": 2, "v": 1}  # of the 4 columns that all matrices have
    fused = [path for path in shapes if path.endswith("kernel")]
    stack = functools.partial(cwgnc_jax.stacked, "layers/.*", start=start)

    def label(path):
        match kind:
            case "whole":
                return "all"
            case "module" | "stacked modules":
                return path.rpartition("/")[0] or path
            case "joined":
                return "stack" if path in stacked else path
        return path

    split = fused if kind in ("fused", "both", "only fused") else []
    keeps = {"stacked", "stacked modules", "joined", "both"}
    kept = dict.fromkeys(stacked if kind in keeps else (), (0,))
    if kind == "grid":
        kept = dict.fromkeys(stacked, (0, 1))
    if kind == "turned":
        kept = dict.fromkeys(stacked, (-1, 0))
    left_out = [p for p in shapes if p not in fused] if kind == "only fused" else []
    base: Any = {
        "stacked": stack,
        "both": stack,
        "stacked modules": functools.partial(stack, base=cwgnc_jax.by_module),
        "joined": functools.partial(stack, joined="stack"),
        "grid": functools.partial(stack, (0, 1)),
        "turned": functools.partial(stack, (-1, 0)),
    }.get(kind)
    components = {
        "leaf": None, "module": cwgnc_jax.by_module, "whole": cwgnc_jax.whole_tree
    }.get(kind)  # fmt: skip
    if base is not None:
        components = base()
    if split:
        of = cwgnc_jax.by_leaf if components is None else components
        components = cwgnc_jax.fused(".*kernel", parts, base=of)
    if left_out:
        components = cwgnc_jax.by_rules([(".*kernel", components), (".*", None)])
    pieces = [
        oracles.pieces_of(
            path,
            shape,
            label(path),
            kept.get(path, ()),
            -1 if path in split else None,
            parts if path in split else None,
            start if path in kept else 0,
        )
        for path, shape in shapes.items()
        if path not in left_out
    ]
    return components, oracles.join(*pieces)


def make_case(seed):
    rng = np.random.default_rng(seed)
    layers, rows = rng.integers(1, 4, 2)
    shapes = {
        "layers/kernel": (layers, rows, 4),
        "layers/out/kernel": (layers, rows, 4),
        "layers/bias": (layers, 4),
        "head/kernel": (rows, 4),
        "head/bias": (4,),
        "scalar": (),
    }
    kinds = [
        "leaf", "module", "whole", "stacked", "stacked modules", "joined", "grid",
        "turned", "fused", "both", "only fused",
    ]  # fmt: skip
    kind = kinds[seed % len(kinds)]
    # Often one block alone; always one that the map is for.
    kept = ["layers/kernel", *rng.permutation(list(shapes))[: rng.integers(0, 6)]]
    shapes = {path: tuple(map(int, shapes[path])) for path in sorted({*kept})}
    components, pieces = make_pieces(kind, shapes, int(rng.integers(0, 3)))
    narrow = ["float32", "float32", "float16", "bfloat16", "complex64"]
    dtypes = {path: str(rng.choice(narrow)) for path in shapes}
    leaves = {}
    for path, shape in shapes.items():
        leaf = 10 ** rng.uniform(-2, 2) * rng.standard_normal(shape)
        if dtypes[path] == "complex64":
            leaf = leaf + 1j * rng.standard_normal(shape)
        # Rounded to its dtype, which is what the formula is to see.
        rounded = np.asarray(jnp.asarray(leaf, dtypes[path]))
        leaves[path] = rounded.astype(complex if np.iscomplexobj(leaf) else float)
    limits = [0.0, 1e-3, 0.5, 3.0, float("inf"), None]
    names = list(pieces)
    if rng.random() < 0.3:
        limit = float(rng.choice([1e-3, 0.5, 3.0]))
        return Case(
            leaves, dtypes, components, pieces, limit, dict.fromkeys(names, limit)
        )
    own = list(rng.permutation(names)[: rng.integers(1, 4)])
    thresholds = {name: limits[rng.integers(6)] for name in names if name in own}
    rules = [(re.escape(name), limit) for name, limit in thresholds.items()]
    if len(own) < len(names):
        other = limits[rng.integers(6)]
        rules.append((".*", other))
        thresholds = dict.fromkeys(names, other) | thresholds
    return Case(leaves, dtypes, components, pieces, rules, thresholds)


def compare(case, updates, state, factor, thresholds=None, seen=None):
    """Updates and state are the formula's, with gradients times the factor."""
    gradients = {
        path: np.asarray(leaf).astype(complex if np.iscomplexobj(leaf) else float)
        for path, leaf in case.tree(factor).items()
    }
    expected = oracles.clip(gradients, case.pieces, thresholds or case.thresholds)
    names = cwgnc_jax.component_names(case.tree() if seen is None else seen,
                                      case.components)  # fmt: skip
    if seen is None:
        assert sorted(names) == sorted(case.pieces)
    # Norms are summed in float32 whatever the dtype.
    for got, wanted in ((state.norms, expected.norms), (state.scales, expected.scales)):
        wanted = np.array([wanted[name] for name in names])
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
    for path, leaf in updates.items():
        if isinstance(leaf, optax.MaskedNode):
            continue
        assert leaf.dtype == case.dtypes[path]
        wide = np.asarray(leaf).astype(complex if np.iscomplexobj(leaf) else float)
        # What is subnormal in float16 has fewer digits.
        tiny = 1e-7 if case.dtypes[path] == "float16" else 1e-30
        np.testing.assert_allclose(
            wide, expected.leaves[path], rtol=TOLERANCE[case.dtypes[path]], atol=tiny
        )


def check_clip(case, wrapper):
    tx = cwgnc_jax.clip_by_component_norm(case.max_norm, case.components)
    tree = case.tree()
    if wrapper == "jit":
        compare(case, *jax.jit(tx.update)(tree, tx.init(tree)), 1.0)
        return
    factors = jnp.array([1.0, 0.5])
    trees = jax.tree.map(lambda a, b: jnp.stack([a, b]), tree, case.tree(0.5))
    if wrapper == "scan":

        def step(state, gradients):
            updates, state = tx.update(gradients, state)
            return state, (updates, state)

        _, (updates, states) = jax.lax.scan(step, tx.init(tree), trees)
    else:
        states = jax.vmap(tx.init)(trees)
        updates, states = jax.jit(jax.vmap(tx.update))(trees, states)
    for i, factor in enumerate(factors.tolist()):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], (updates, states))
        compare(case, *one, factor)


def check_masked(case):
    # Only the leaves of the first component's kind are shown; its rules stay all.
    shown = min(case.leaves)
    others = {path for parts in case.pieces.values() for path, _ in parts} - {shown}
    if any(
        {shown} < {path for path, _ in parts} for parts in case.pieces.values()
    ):  # A component that a mask cuts in two is another component.
        return
    tx = optax.masked(
        cwgnc_jax.clip_by_component_norm(case.max_norm, case.components),
        {path: path not in others for path in case.leaves},
    )
    tree = case.tree()
    seen = {p: optax.MaskedNode() if p in others else x for p, x in tree.items()}
    updates, state = jax.jit(tx.update)(tree, tx.init(tree))
    record = cwgnc_jax.component_record(tx, tree, state)
    assert record.names == cwgnc_jax.component_names(seen, case.components)
    updates = {p: optax.MaskedNode() if p in others else updates[p] for p in updates}
    compare(case, updates, state.inner_state, 1.0, seen=seen)


def check_relative(case, wrapper):
    """AGC by the norms of parameters, AdaGC by those of a step before."""
    tree, factor = case.tree(), 3.0
    pieces = case.pieces
    norms = oracles.clip(case.leaves, pieces, dict.fromkeys(pieces)).norms
    gradients = case.tree(factor)
    if wrapper == "agc":
        tx = contrib.adaptive_clip_by_component_norm(0.1, 1e-3, case.components)
        updates, state = jax.jit(tx.update)(gradients, tx.init(tree), tree)
        limits = {name: 0.1 * max(norm, 1e-3) for name, norm in norms.items()}
    else:
        tx = contrib.adagc(1.05, 1e9, start=2, components=case.components)
        update = jax.jit(tx.update)
        _, state = update(tree, tx.init(tree))
        updates, state = update(gradients, state)
        limits = {name: 1.05 * norm for name, norm in norms.items()}
    compare(case, updates, state, factor, limits)


def check(seed):
    case = make_case(seed)
    # Eleven maps and six wrappers have no divisor in common but 1.
    wrapper = WRAPPERS[seed % len(WRAPPERS)]
    if wrapper in ("agc", "adagc"):
        check_relative(case, wrapper)
    elif wrapper == "masked":
        check_masked(case)
    else:
        check_clip(case, wrapper)


@pytest.mark.parametrize("seed", range(22))
def test_some(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_a_thousand(block):
    for seed in range(50 * block, 50 * block + 50):
        try:
            check(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        if seed % 25 == 0:
            jax.clear_caches()
