"""Tiny models of all families, with tokenizers whose words are tiny_bert's."""

import pathlib
import shutil

import tiny_bert

ENCODERS = pathlib.Path(__file__).parents[1] / "data" / "encoders"

# How a family encloses a sentence and a pair, in the words of ``tokenizers``.
_BERT = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
_ROBERTA = "[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]"
_LLAMA = "[CLS] $A", "[CLS] $A [CLS] $B"
_TEMPLATES = {
    "camembert": _ROBERTA,
    "llama": _LLAMA,
    "mpnet": _ROBERTA,
    "qwen2": ("$A", "$A $B"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}


def save(folder: pathlib.Path, case: str, model_type: str) -> pathlib.Path:
    """Copies a recorded model, and writes a tokenizer that encloses as its family does.

    Args:
      folder: where to.
      case: name of a folder in ``tests/data/encoders``.
      model_type: its family.

    Returns:
      The folder.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(ENCODERS / case / name, folder / name)
    words = [*tiny_bert.SPECIAL, *tiny_bert.WORDS]
    words += [f"more{number}" for number in range(31 - len(words))]
    vocabulary = {word: number for number, word in enumerate(words)}
    engine = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    single, pair = _TEMPLATES.get(model_type, _BERT)
    special = [(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")]
    engine.post_processor = processors.TemplateProcessing(single, pair, special)
    PreTrainedTokenizerFast(
        tokenizer_object=engine,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
    ).save_pretrained(folder)
    return folder
