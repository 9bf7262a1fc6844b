# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Your own CSV
#
# From a file with a column of texts and a column of classes to a fine-tuned model, its
# scores over several seeds, and answers with probabilities. The same works as a
# command, `python examples/finetune_glue.py` with these options.

# %%
import pathlib
import sys
import tempfile
import warnings

import matplotlib.pyplot as plt
import pandas

# %matplotlib inline

here = pathlib.Path.cwd()
project = next(
    folder for folder in (here, *here.parents) if (folder / "examples").is_dir()
)
sys.path.append(str(project / "examples"))

warnings.filterwarnings("ignore", message="IProgress not found")  # of downloads

import finetune_glue

# %% [markdown]
# ## A file
#
# Yours may be CSV, TSV, JSON Lines or Parquet. This one is made of sentences that are
# well formed or not. Columns called `text` and `label` are found by themselves; the
# column of classes here is not, so that it is named below.

# %%
folder = pathlib.Path(tempfile.mkdtemp())
sentences = pandas.read_csv(project / "examples/acceptability/train.csv")
mine = pandas.DataFrame(
    {
        "text": sentences["sentence"],
        "verdict": sentences["label"].map({0: "broken", 1: "fine"}),
    }
)
mine.to_csv(folder / "mine.csv", index=False)
mine.head()

# %% [markdown]
# ## Fine-tune
#
# A fifth is held out and scored. `--model` would name a checkpoint, in a folder or on
# the Hugging Face hub; without it there is the small model that comes with the project
# and knows the words of such sentences alone. Two seeds keep this short.

# %%
status = finetune_glue.main(
    [
        *("--train-file", str(folder / "mine.csv"), "--label-column", "verdict"),
        *("--eval-share", "0.2", "--metric", "matthews"),
        *("--method", "cwgnc", "--seeds", "2", "--epochs", "5"),
        *("--save-model", "--output-dir", str(folder / "runs")),
    ]
)

# %% [markdown]
# ## Every run is a line
#
# Records are JSON Lines: pandas reads them.

# %%
runs = pandas.read_json(folder / "runs/runs.jsonl", lines=True)
runs[["seed", "score", "failed", "train_loss", "steps"]]

# %% [markdown]
# ## Ask it
#
# The best run's model was saved as transformers loads it; here it answers a file
# without labels.

# %%
new = pandas.read_csv(project / "examples/acceptability/dev.csv")[["sentence", "label"]]
new = new[:200].rename(columns={"sentence": "text"})
new[["text"]].to_csv(folder / "new.csv", index=False)
status = finetune_glue.main(
    [
        *("--model", str(folder / "runs/model"), "--predict", str(folder / "new.csv")),
        *("--output-dir", str(folder / "answers")),
    ]
)
answers = pandas.read_csv(next((folder / "answers").glob("*.csv")))
answers.head()

# %% [markdown]
# How sure it is of sentences that are fine, and of those that are not:

# %%
figure, axes = plt.subplots(figsize=(7, 3.5))
axes.hist(
    [answers["probability_fine"][new["label"] == kind] for kind in (0, 1)],
    bins=10,
    range=(0, 1),
    density=True,
    label=["broken", "fine"],
)
axes.set(xlabel="probability of 'fine'", ylabel="density of sentences")
axes.legend(title="what they are")
figure.tight_layout()
