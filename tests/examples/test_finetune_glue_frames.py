"""How far an option is from what it is for: the frames above the clip."""

import sys

import finetune_glue
import jax
import pytest
import tiny_bert

import cwgnc_jax


@pytest.mark.slow
def test_max_norm_reaches_the_clip_in_few_frames_and_once(tmp_path, monkeypatch):
    calls = []
    clip = cwgnc_jax.clip_by_component_norm

    def recorded(max_norm, components=None):
        names, frame = ["clip_by_component_norm"], sys._getframe(1)
        while frame.f_code is not finetune_glue.main.__code__:
            # What dataclasses generate, in no file, is nothing that one reads.
            if frame.f_code.co_filename != "<string>":
                names.append(frame.f_code.co_qualname)
            frame = frame.f_back
        calls.append((max_norm, [*names, "main"][::-1]))
        return clip(max_norm, components)

    monkeypatch.setattr(cwgnc_jax, "clip_by_component_norm", recorded)
    arguments = ["--model", tiny_bert.save(tmp_path / "model")]
    for name, count in (("train", 16), ("eval", 8)):
        file = tiny_bert.write_tsv(tmp_path / f"{name}.tsv", count, seed=0)
        arguments += [f"--{name}-file", file]
    arguments += ["--method", "cwgnc,cwgnc:max_norm=0.5", "--max-norm", "0.25"]
    arguments += ["--seeds", "2", "--epochs", "1", "--output-dir", tmp_path / "runs"]
    arguments += ["--no-compilation-cache"]
    assert finetune_glue.main([str(argument) for argument in arguments]) == 0
    # Both configurations share one optimizer, made from the first one's number for the
    # initial states, and from an argument where the training program is traced.
    [(max_norm, names), (traced, _)] = calls
    assert max_norm == 0.25
    assert isinstance(traced, jax.core.Tracer)
    assert len(names) <= 8, names
