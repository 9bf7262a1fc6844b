"""Where arrays lie: seeds, batches and parameters over the devices of a mesh.

A mesh has three axes. Along ``seed`` lie the seeds of a group: these devices need
nothing from each other in a step. Along ``data`` lie parts of each batch, whose
gradients are summed. Along ``model`` lie parts of the batch, too, and of each seed's
parameters and moments as well (fully sharded data parallelism), for a model that is too
large for one device. The compiler finds the communication: norms of gradients, among
others, are those of the whole arrays wherever the parts lie.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bert_glue.devices import processes

SEED, DATA, MODEL = AXES = ("seed", "data", "model")
"""The axes of a mesh. The outermost is between hosts: seeds have least to exchange."""

Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Placement:
    """Lays arrays of a group of seeds on devices.

    Each method takes a pytree of concrete arrays, which it moves; of traced ones, which
    it constrains in the program; or of ``jax.ShapeDtypeStruct``, to which it adds where
    the arrays will lie.

    Attributes:
      mesh: the devices; None for JAX's default device, where everything lies and no
        program says anything of places.
    """

    mesh: Mesh | None = None

    @property
    def seeds(self) -> int:
        """Number of places for seeds: groups have a multiple of it."""
        return self._size(SEED)

    @property
    def parts(self) -> int:
        """Number of parts that a batch is cut into."""
        return self._size(DATA) * self._size(MODEL)

    @property
    def has_whole_seeds(self) -> bool:
        """Whether there is a mesh, and no seed lies on several of its devices."""
        return self.mesh is not None and self.parts == 1

    @property
    def name(self) -> str | None:
        """As a user writes it; None without a mesh."""
        if self.mesh is None:
            return None
        return ",".join(f"{axis}={self.mesh.shape[axis]}" for axis in AXES)

    def round_up(self, seeds: int) -> int:
        """The smallest size of a group that holds so many seeds."""
        return -(-seeds // self.seeds) * self.seeds

    def rows(self, tree: Tree) -> Tree:
        """Arrays with a leading seed axis: each seed's row on its devices, whole."""
        return self._lay(tree, lambda leaf: PartitionSpec(SEED))

    def state(self, tree: Tree) -> Tree:
        """Parameters, gradients and moments with a leading seed axis.

        Of each seed's the largest axis that can be cut evenly is laid along ``model``;
        numbers and vectors stay whole, as they are not worth a message.
        """
        return self._lay(tree, lambda leaf: PartitionSpec(SEED, *self._cut(leaf, 1)))

    def params(self, tree: Tree) -> Tree:
        """Parameters that all seeds start from, without a seed axis, cut likewise."""
        return self._lay(tree, lambda leaf: PartitionSpec(*self._cut(leaf, 0)))

    def batches(self, tree: Tree) -> Tree:
        """Examples of each seed's batch, shape (seeds, batch, ...)."""
        return self._lay(tree, lambda leaf: PartitionSpec(SEED, (DATA, MODEL)))

    def examples(self, tree: Tree) -> Tree:
        """Examples of one batch for all seeds, shape (batch, ...)."""
        return self._lay(tree, lambda leaf: PartitionSpec((DATA, MODEL)))

    def everywhere(self, tree: Tree) -> Tree:
        """Arrays that every device has a whole copy of, such as the data."""
        return self._lay(tree, lambda leaf: PartitionSpec())

    def fetch(self, tree: Any) -> Any:
        """The arrays as NumPy's, whole, in every process.

        Args:
          tree: pytree of arrays of this placement. With several processes all of
            them must call this, as the parts are exchanged.

        Returns:
          The same tree of NumPy arrays.
        """
        arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
        is_here = all(array.is_fully_addressable for array in arrays)
        if self.mesh is not None and not is_here:
            whole = NamedSharding(self.mesh, PartitionSpec())
            tree = jax.jit(_same, out_shardings=whole)(tree)
        return jax.device_get(tree)

    def gather(self, tree: Any) -> Any:
        """The arrays of several processes as NumPy's in the first, to the last bit.

        Beside them little more than a seed's part of the largest array takes a device's
        memory, where :meth:`fetch` takes that of all.

        Args:
          tree: pytree of arrays with a leading seed axis, or of NumPy's, which stay
            as they are. All processes must call this.

        Returns:
          The same tree of NumPy arrays; in the other processes JAX's arrays stay as
          they are, and with a single process all.
        """
        if processes.count() == 1 or self.mesh is None:
            return tree
        whole = NamedSharding(self.mesh, PartitionSpec())
        take = jax.jit(_row_of_bits, out_shardings=whole)

        def gathered(leaf: Any) -> Any:
            if not isinstance(leaf, jax.Array):
                return leaf
            rows = []
            for seed in range(len(leaf)):
                # No process runs ahead: they would wait for each other's programs.
                row = jax.block_until_ready(take(leaf, seed))
                if processes.is_first():
                    rows.append(np.asarray(row.addressable_data(0)))
            return np.stack(rows).view(leaf.dtype) if rows else leaf

        return jax.tree.map(gathered, tree)

    def _size(self, axis: str) -> int:
        return 1 if self.mesh is None else self.mesh.shape[axis]

    def _cut(self, leaf: Any, first: int) -> list[str | None]:
        """Which axis of an array lies along ``model``, from axis ``first`` on."""
        shape = leaf.shape[first:]
        spec: list[str | None] = [None] * len(shape)
        parts = self._size(MODEL)
        fitting = [axis for axis, size in enumerate(shape) if size % parts == 0]
        if parts > 1 and len(shape) > 1 and fitting:
            spec[max(fitting, key=lambda axis: (shape[axis], axis))] = MODEL
        return spec

    def _lay(self, tree: Tree, spec_of: Callable[[Any], PartitionSpec]) -> Tree:
        mesh = self.mesh
        if mesh is None:
            return tree

        def lay(leaf: Any) -> Any:
            sharding = NamedSharding(mesh, spec_of(leaf))
            if isinstance(leaf, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            if isinstance(leaf, Tracer):
                return jax.lax.with_sharding_constraint(leaf, sharding)
            return _put(leaf, sharding)

        return jax.tree.map(lay, tree)


SINGLE = Placement()
"""Everything on JAX's default device."""


def parse_mesh(text: str) -> Mapping[str, int]:
    """Reads sizes of axes.

    Args:
      text: such as ``seed=4,data=2``.

    Returns:
      Sizes by axis, of those named.

    Raises:
      ValueError: if it is not that.

    Examples:
      >>> parse_mesh("seed=4,data=2")
      {'seed': 4, 'data': 2}
    """
    sizes: dict[str, int] = {}
    for item in text.split(","):
        axis, _, digits = (part.strip() for part in item.partition("="))
        size = int(digits) if digits.isdecimal() else 0
        if axis not in AXES or axis in sizes or size < 1:
            raise ValueError(
                f"mesh is {text!r}; accepted are sizes of the axes {', '.join(AXES)}, "
                "such as seed=4,data=2"
            )
        sizes[axis] = size
    return sizes


def choose(wanted: Mapping[str, int] | None, seeds: int, batch_size: int) -> Placement:
    """Where a group of seeds is to lie.

    Its devices are those of all processes that run this program together. Unless the
    user says otherwise no two seeds share a device while another is idle;
    devices that are left over share the batches.

    Args:
      wanted: sizes of the axes that the user has named; ``seed`` takes what the
        others leave over. None to choose.
      seeds: number of seeds in the group.
      batch_size: examples in a batch.

    Returns:
      The placement.

    Raises:
      ValueError: if the axes do not fit the devices, or cannot cut the batch evenly.

    Examples:
      >>> choose(None, seeds=25, batch_size=16).name is None  # a single device
      True
    """
    devices = jax.devices() if processes.count() > 1 else jax.local_devices()
    count = len(devices)
    if wanted is None:
        if count == 1:
            return SINGLE
        wanted = {DATA: _spare(count, seeds, batch_size)}
    data, model = wanted.get(DATA, 1), wanted.get(MODEL, 1)
    seed = wanted.get(SEED, max(1, count // (data * model)))
    if seed * data * model != count:
        raise ValueError(
            f"the mesh seed={seed},data={data},model={model} has {seed * data * model} "
            f"places, but there are {count} devices; accepted is a mesh of as many"
        )
    if batch_size % (data * model):
        raise ValueError(
            f"a batch of {batch_size} examples cannot be cut into {data * model} equal "
            f"parts (data={data}, model={model}); accepted is a batch size that is a "
            "multiple, or another mesh"
        )
    if count == 1:
        return SINGLE
    sizes, types = (seed, data, model), (AxisType.Auto,) * 3
    return Placement(jax.make_mesh(sizes, AXES, axis_types=types, devices=devices))


def on_cpu() -> bool:
    """Whether the devices are those of a CPU."""
    return jax.local_devices()[0].platform == "cpu"


def _spare(count: int, seeds: int, batch_size: int) -> int:
    """How many devices share a seed's batches: those that no seed needs."""
    fitting = [
        data
        for data in range(1, count + 1)
        if count % data == 0 and batch_size % data == 0 and count // data >= seeds
    ]
    return max(fitting, default=1)


def _put(leaf: Any, to: NamedSharding) -> jax.Array:
    """Moves an array that every process has to its devices."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put(np.asarray(jax.random.key_data(leaf)), to)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(to, leaf.ndim):
        return leaf
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, to, lambda index: values[index])


def _row_of_bits(array: jax.Array, row: jax.Array | int) -> jax.Array:
    """A row of an array as whole numbers of its bits.

    A sum over rows that are zero but for one leaves each row where it lies, where
    indexing would first gather all of them; whole numbers, as a sum of floating point
    would lose the sign of zeros.
    """
    if array.dtype == bool:
        bits = array.astype(np.uint8)
    else:
        kind = np.dtype(f"uint{8 * array.dtype.itemsize}")
        bits = jax.lax.bitcast_convert_type(array, kind)
    # Of shape (rows, 1, 1, ...), to stand beside the array.
    is_row = jnp.expand_dims(jnp.arange(len(array)) == row, range(1, array.ndim))
    return jnp.sum(jnp.where(is_row, bits, 0), axis=0, dtype=bits.dtype)


def _same(tree: Tree) -> Tree:
    return tree
