"""Programs compiled for a TPU without one: there are sizes of every family."""

import pytest
import tpu_aot
from bert_glue.model.architectures import ARCHITECTURES


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_sizes_of_a_family(family):
    config = tpu_aot.config_of(family)
    assert config.model_type == family
    assert (config.num_hidden_layers, config.hidden_size) == (4, 256)
    assert config.num_attention_heads % (config.num_key_value_heads or 1) == 0
    methods = [case.method for case in tpu_aot.FAMILY_CASES if case.shape == family]
    assert methods == ["cwgnc", "gu"]
