"""Fine-tuning on a TPU, from programs compiled ahead of time, without a TPU.

Needs the package libtpu beside jax. The scripts' own training programs are compiled for
chips of TPU v5e: BERT-base and BERT-large, batch 16, length 128, bfloat16, component
clipping and AdamW; one seed and several; the first stage of gradual unfreezing. Each
compiled program is asked for its memory a chip, which must fit in 16 GiB, and for the
all-reduces that clipping adds to it.

    python benchmarks/tpu_aot.py
    python benchmarks/tpu_aot.py --rows bert-large --output tpu_aot.md
    python benchmarks/tpu_aot.py --families --output tpu_families.md

With --families it is every family of encoders that the scripts read, of four layers and
a hidden size of 256, on one chip and with seeds, batches and parameters over eight.

FLOPs and bytes of a step are those of the compiler. It counts the body of a scan over
layers once, so they are counted on models of one and of two layers, each a stack of its
own, and extrapolated.
"""

import os

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import dataclasses
import pathlib
import re
import sys
import time
from typing import Any

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "examples")]

import jax
import numpy as np
import reporting
from abstract_training import LENGTH, workload
from bert_glue.devices import memory, mesh
from bert_glue.model.architectures import ARCHITECTURES
from bert_glue.model.config import EncoderConfig
from bert_glue.training.methods import METHODS
from bert_glue.training.stages import Stage, make_stages
from bert_glue.training.trainer import Trainer
from finetune import SHAPES
from jax.experimental import topologies

GIB = 2**30
CONFIGS = SHAPES | {
    "bert-tiny": EncoderConfig(
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
    )
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A program to compile.

    Attributes:
      shape: a key of :data:`CONFIGS`.
      method: a key of the scripts' methods; of gradual unfreezing its first stage.
      seeds: seeds side by side.
      topology: name of the slice.
      axes: sizes of the mesh's axes; all chips are in it.
    """

    shape: str
    method: str
    seeds: int
    topology: str = "v5e:2x2"
    axes: str = "seed=1,data=1,model=1"

    @property
    def chips(self) -> int:
        """Number of chips of the mesh."""
        return int(np.prod(list(mesh.parse_mesh(self.axes).values())))


CASES = (
    Case("bert-base", "cwgnc", 1),
    Case("bert-base", "cwgnc", 8, "v5e:2x4", "seed=8,data=1,model=1"),
    Case("bert-large", "cwgnc", 1),
    Case("bert-large", "gu", 1),
    Case("bert-large", "cwgnc", 1, "v5e:2x4", "seed=1,data=8,model=1"),
    Case("bert-large", "cwgnc", 1, "v5e:2x4", "seed=1,data=1,model=8"),
    Case("bert-large", "cwgnc", 8, "v5e:2x4", "seed=8,data=1,model=1"),
    Case("bert-large", "cwgnc", 16, "v5e:16x16", "seed=16,data=16,model=1"),
)


# One chip, and all kinds of sharding at once.
FAMILY_CASES = tuple(
    case
    for family in ARCHITECTURES
    for case in (
        Case(family, "cwgnc", 1),
        Case(family, "gu", 2, "v5e:2x4", "seed=2,data=2,model=2"),
    )
)


def config_of(shape: str) -> EncoderConfig:
    """The sizes of a model, or small ones of a family."""
    if shape in CONFIGS:
        return CONFIGS[shape]
    from transformers import AutoConfig

    sizes = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = AutoConfig.for_model(shape, **sizes)
    if hasattr(config, "num_key_value_heads"):  # Qwen2's default is 32.
        config.num_key_value_heads = 2
    return dataclasses.replace(
        EncoderConfig.from_dict(config.to_dict()), intermediate_size=1024
    )


def make_trainer(
    case: Case,
    *,
    clipped: bool = True,
    layers: int | None = None,
    remat: str = "cheap",
    **settings: Any,
) -> Trainer:
    """The scripts' trainer of a case.

    Args:
      case: what to compile.
      clipped: whether the gradient is clipped at all.
      layers: number of layers, each a stack of its own; None for the model's, in one
        stack.
      remat: what the backward pass computes anew.
      **settings: of the method, other than its own.

    Returns:
      A trainer that can be lowered.
    """
    recipe = METHODS[case.method].replace(**settings)
    if not clipped:
        recipe = recipe.replace(clipping="none")
    config = config_of(case.shape)
    if layers is not None:
        config = dataclasses.replace(config, num_hidden_layers=layers)
    devices = topologies.get_topology_desc(
        platform="tpu", topology_name=case.topology
    ).devices[: case.chips]
    sizes = mesh.parse_mesh(case.axes)
    placement = mesh.Placement(
        jax.sharding.Mesh(np.reshape(devices, list(sizes.values())), mesh.AXES)
    )
    task = dataclasses.replace(
        workload(config, stacks=layers, remat=remat, **recipe.computation),
        placement=placement,
    )
    stage = Stage()
    if layers is None:
        shapes = jax.eval_shape(task.init, task.pretrained, jax.random.key(0))
        stage = make_stages(recipe, shapes)[0]
    return Trainer(
        task,
        recipe,
        case.seeds,
        buckets=(LENGTH,),
        stage=stage,
    )


def all_reduces(compiled: Any) -> int:
    """Number of all-reduces in a compiled program."""
    return len(re.findall(r" all-reduce(-start)?\(", compiled.as_text()))


def costs(case: Case) -> tuple[float, float]:
    """FLOPs and bytes of a step, as the compiler counts them, by extrapolation."""
    counted = []
    for layers in (1, 2):
        single = dataclasses.replace(
            case,
            method="cwgnc",
            seeds=1,
            topology="v5e:2x2",
            axes="seed=1,data=1,model=1",
        )
        compiled: Any = make_trainer(single, layers=layers).lower().compile()
        analysis = compiled.cost_analysis()
        counted.append((analysis["flops"], analysis["bytes accessed"]))
    more = CONFIGS[case.shape].num_hidden_layers - 1
    (flops, moved), (flops_2, moved_2) = counted
    return flops + more * (flops_2 - flops), moved + more * (moved_2 - moved)


def measure(case: Case) -> list[str]:
    """A row of the table."""
    lowered = make_trainer(case).lower()
    start = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    used = memory.program_bytes(compiled)
    added = "0"
    if case.chips > 1:
        bare = make_trainer(case, clipped=False).lower().compile()
        added = str(all_reduces(compiled) - all_reduces(bare))
    method = "gu, first stage" if case.method == "gu" else case.method
    return [
        f"{case.shape}, {method}",
        str(case.seeds),
        f"{case.chips} ({case.axes})",
        f"{used / GIB:.2f}",
        "yes" if used < 16 * GIB else "NO",
        str(all_reduces(compiled)),
        added,
        f"{seconds:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="", help="only cases whose name has this")
    parser.add_argument("--tiny", action="store_true", help="try it on a tiny model")
    parser.add_argument(
        "--families", action="store_true", help="every family of encoders, small"
    )
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    header = ["model and method", "seeds", "chips (mesh)", "GiB a chip", "fits 16 GiB"]
    header += ["all-reduces", "of these for clipping", "compilation, s"]
    cases = FAMILY_CASES if options.families else CASES
    chosen = [case for case in cases if options.rows in f"{case.shape} {case.method}"]
    if options.tiny:
        chosen = [dataclasses.replace(case, shape="bert-tiny") for case in chosen]
    title = f"### TPU v5e, batch 16, length {LENGTH}, bfloat16\n"
    lines = [reporting.provenance(), "", title]
    rows: list[list[str]] = []
    steps: list[list[str]] = []

    def report() -> None:
        # A long compilation later on must not lose what is there.
        tables = [reporting.markdown_table(header, rows)]
        if steps:
            of_steps = ["a step of one seed, cwgnc", "TFLOP", "GB moved"]
            tables += ["", reporting.markdown_table(of_steps, steps)]
        reporting.write("\n".join([*lines, *tables]), options.output)

    for case in chosen:
        rows.append(measure(case))
        report()
    for shape in dict.fromkeys(case.shape for case in chosen if not options.families):
        flops, moved = costs(Case(shape, "cwgnc", 1))
        steps.append([shape, f"{flops / 1e12:.2f}", f"{moved / 1e9:.1f}"])
        report()


if __name__ == "__main__":
    main()
