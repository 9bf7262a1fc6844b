"""Random clippings, and the check of each against NumPy in double precision.

test_clip_fuzz.py runs them on one device, sharded_fuzz.py inside of ``shard_map``.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
from jax.sharding import PartitionSpec as P

import cwgnc_jax
from cwgnc_jax import contrib

# Rounding of the result's dtype; norms of complex and real numbers are float32.
TOLERANCE = {"float32": 1e-5, "complex64": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}
WRAPPERS = ("jit", "scan", "vmap", "masked", "agc", "adagc")


class Devices(NamedTuple):
    """How updates run: on one device, or on a mesh with specs of the leaves.

    Attributes:
      specs: a PartitionSpec by path; None on one device.
      shard_map: of the mesh, with the specs of arguments and results to be given.
    """

    specs: dict[str, P] | None = None
    shard_map: Callable[..., Any] | None = None

    def run(
        self, update: Any, *trees: Any, state: Any, leading: bool = False
    ) -> tuple[Any, Any]:
        """What the update of the trees and the state returns: trees and a state."""
        if self.shard_map is None or self.specs is None:
            return jax.jit(update)(trees[0], state, *trees[1:])
        specs = self.specs
        if leading:  # An axis of steps or of independent runs.
            specs = {path: P(None, *spec) for path, spec in specs.items()}
        mapped = self.shard_map(
            update,
            in_specs=(specs, P(), *[specs] * len(trees[1:])),
            out_specs=(specs, P()),
        )
        return jax.jit(mapped)(trees[0], state, *trees[1:])


ONE_DEVICE = Devices()


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


def make_pieces(kind, shapes, start, size):
    """A map by one of the library's makers, and the pieces that it is to cut."""
    stacked = [path for path in shapes if path.startswith("layers/")]
    # Of the 4 columns that all matrices have, or of as many times that.
    parts = {"q": size, "k": 2 * size, "v": size}
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


def make_case(seed, size=1):
    """A random case, all of whose axes are multiples of the size."""
    rng = np.random.default_rng(seed)
    layers, rows = size * rng.integers(1, 4, 2)
    columns = 4 * size
    shapes = {
        "layers/kernel": (layers, rows, columns),
        "layers/out/kernel": (layers, rows, columns),
        "layers/bias": (layers, columns),
        "head/kernel": (rows, columns),
        "head/bias": (columns,),
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
    components, pieces = make_pieces(kind, shapes, int(rng.integers(0, 3)), size)
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


def check_clip(case, wrapper, devices):
    tx = cwgnc_jax.clip_by_component_norm(
        case.max_norm, case.components, specs=devices.specs
    )
    tree = case.tree()
    if wrapper == "jit":
        updates, state = devices.run(tx.update, tree, state=tx.init(tree))
        compare(case, updates, state, 1.0)
        return
    trees = jax.tree.map(lambda a, b: jnp.stack([a, b]), tree, case.tree(0.5))
    if wrapper == "scan":

        def scan(trees, state):
            def step(state, gradients):
                updates, state = tx.update(gradients, state)
                return state, (updates, state)

            return jax.lax.scan(step, state, trees)[1]

        update, state = scan, tx.init(tree)
    else:
        update, state = jax.vmap(tx.update), jax.vmap(tx.init)(trees)
    updates, states = devices.run(update, trees, state=state, leading=True)
    for i, factor in enumerate((1.0, 0.5)):
        one, state = jax.tree.map(lambda leaf, i=i: leaf[i], (updates, states))
        compare(case, one, state, factor)


def check_masked(case, devices):
    # Only the leaves of the first component's kind are shown; its rules stay all.
    shown = min(case.leaves)
    others = {path for parts in case.pieces.values() for path, _ in parts} - {shown}
    if any(
        {shown} < {path for path, _ in parts} for parts in case.pieces.values()
    ):  # A component that a mask cuts in two is another component.
        return
    tx = optax.masked(
        cwgnc_jax.clip_by_component_norm(
            case.max_norm, case.components, specs=devices.specs
        ),
        {path: path not in others for path in case.leaves},
    )
    tree = case.tree()
    seen = {p: optax.MaskedNode() if p in others else x for p, x in tree.items()}
    updates, state = devices.run(tx.update, tree, state=tx.init(tree))
    record = cwgnc_jax.component_record(tx, tree, state)
    assert record.names == cwgnc_jax.component_names(seen, case.components)
    updates = {p: optax.MaskedNode() if p in others else updates[p] for p in updates}
    compare(case, updates, state.inner_state, 1.0, seen=seen)


def check_relative(case, wrapper, devices):
    """AGC by the norms of parameters, AdaGC by those of a step before."""
    tree, factor = case.tree(), 3.0
    pieces = case.pieces
    norms = oracles.clip(case.leaves, pieces, dict.fromkeys(pieces)).norms
    gradients = case.tree(factor)
    if wrapper == "agc":
        tx = contrib.adaptive_clip_by_component_norm(
            0.1, 1e-3, case.components, specs=devices.specs
        )
        state = tx.init(tree)
        updates, state = devices.run(tx.update, gradients, tree, state=state)
        limits = {name: 0.1 * max(norm, 1e-3) for name, norm in norms.items()}
    else:
        tx = contrib.adagc(
            1.05, 1e9, start=2, components=case.components, specs=devices.specs
        )
        _, state = devices.run(tx.update, tree, state=tx.init(tree))
        updates, state = devices.run(tx.update, gradients, state=state)
        limits = {name: 1.05 * norm for name, norm in norms.items()}
    compare(case, updates, state, factor, limits)


def check(seed, case, devices=ONE_DEVICE):
    """The case of a seed, by the way that is the seed's turn."""
    # Eleven maps and six wrappers have no divisor in common but 1.
    wrapper = WRAPPERS[seed % len(WRAPPERS)]
    if wrapper in ("agc", "adagc"):
        check_relative(case, wrapper, devices)
    elif wrapper == "masked":
        check_masked(case, devices)
    else:
        check_clip(case, wrapper, devices)


def check_many(seeds, check_one):
    """Checks many seeds, and says which one fails."""
    for seed in seeds:
        try:
            check_one(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        if seed % 25 == 0:
            jax.clear_caches()
