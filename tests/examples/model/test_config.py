import pytest
from bert_glue.model.config import EncoderConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 15}, "no multiple of num_attention_heads"),
        ({"hidden_size": 8.5}, "hidden_size is 8.5: a whole number"),
        ({"pad_token_id": -1}, "pad_token_id is -1: a whole number"),
        (
            {"num_hidden_layers": 0},
            "num_hidden_layers is 0: a whole number from 1 to 1000",
        ),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob is 1.0"),
        (
            {"model_type": "gpt2"},
            "model_type 'gpt2' is another architecture; supported are bert, roberta",
        ),
        ({"position_embedding_type": "relative_key"}, "'relative_key'"),
        ({"is_decoder": True}, "is_decoder is True in a model of type 'bert'"),
    ],
)
def test_configurations_that_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        EncoderConfig.from_dict({**EncoderConfig().to_dict(), **changes})
