"""Recordings beside the records: what goes in comes out, whole or not at all."""

import os
import tokenize
import zipfile

import numpy as np
import pytest
import recorded_runs
from bert_glue.records.component_logs import ComponentLogs
from bert_glue.records.files import RecordsError

RNG = np.random.default_rng(0)
# classifier bias, kernel; embeddings; bias and kernel of key and query, 3 layers each.
COMPONENTS = 15
TOP = [0, 1, 5, 8, 11, 14]


def extreme(seed, name, shape):
    values = np.exp(RNG.normal(0, 12, shape)).astype(np.float32)
    if name.startswith("scales"):
        values = np.minimum(1, values)
    values.flat[:5] = 0, 1, np.nextafter(np.float32(1), np.float32(0)), np.nan, 1e-40
    if name.startswith("norms"):
        values.flat[5] = np.inf
    return values


def test_what_goes_in_comes_out(tmp_path):
    kept = {}

    def arrays(seed, name, shape):
        return kept.setdefault((seed, name), extreme(seed, name, shape))

    runs = recorded_runs.write(
        tmp_path, [[1, 2], [3, 4]], trained=[TOP, range(COMPONENTS)], arrays=arrays
    )
    logs = ComponentLogs(tmp_path)
    for seed, run in enumerate(runs):
        log = logs.load(run)
        assert log.stages == 2
        assert log.names[TOP[2]] == "encoder/layers/key/bias[2]"
        assert log.groups[TOP[2]] == "layer 2"
        assert [log.sizes[number] for number in (0, 1, 2, 3, 6)] == [
            2,
            8,
            36,
            4,
            16,
        ]
        assert log.losses.shape == (8,)
        for name in ("norms", "scales"):
            found = log.at_steps(name)
            assert found.shape == (8, COMPONENTS)
            frozen = np.setdiff1d(range(COMPONENTS), TOP)
            assert np.isnan(found[:4, frozen]).all()
            expected = kept[seed, f"{name}/1"]
            # 11 bits of mantissa: half a unit of the last, or a whole one rounded down.
            np.testing.assert_allclose(found[4:], expected, rtol=2.0**-10)
            np.testing.assert_allclose(
                found[:4, TOP], kept[seed, f"{name}/0"], 2.0**-10
            )
        scales = kept[seed, "scales/1"]
        # Clipped stays clipped, however little, and unclipped unclipped.
        np.testing.assert_array_equal(log.at_steps("scales")[4:] < 1, scales < 1)
        measured = log.after_stages("cosine_distance_from_before")
        expected = [kept[seed, f"cosine_distance_from_before/{n}"] for n in range(2)]
        np.testing.assert_array_equal(measured, expected)


def test_clip_rate_counts_what_was_trained(tmp_path):
    def arrays(seed, name, shape):
        values = np.ones(shape, np.float32)
        if name.startswith("scales"):
            values[:, 0] = 0.5
        return values

    [run] = recorded_runs.write(
        tmp_path, [[1, 2]], trained=[TOP, range(COMPONENTS)], steps=1, arrays=arrays
    )
    log = ComponentLogs(tmp_path).load(run)
    np.testing.assert_allclose(log.clip_rate(), [1 / 6, 1 / 15])
    # The classifier's bias has 2 parameters; a layer 2 x (16 + 4).
    top = 2 + 8 + 40
    found = log.clip_rate(of_parameters=True)
    np.testing.assert_allclose(found, [2 / top, 2 / (top + 80 + 36)], rtol=1e-6)


def test_norms_take_less_than_float32(tmp_path):
    def arrays(seed, name, shape):
        values = np.ones(shape, np.float32)
        return np.exp(RNG.normal(size=shape), dtype="f4") if "norms" in name else values

    [run] = recorded_runs.write(tmp_path, [1], steps=2000, arrays=arrays)
    size = ComponentLogs(tmp_path).path(run).stat().st_size
    assert size < 0.6 * 4 * 2000 * COMPONENTS


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RecordsError, match=r"0\.npz cannot be written: No space"):
            recorded_runs.write(tmp_path, [1])
    logs = ComponentLogs(tmp_path)
    assert list(logs.folder.iterdir()) == []
    # The record comes after the log: there is none either.
    assert not (tmp_path / "runs.jsonl").exists()
    [run] = recorded_runs.write(tmp_path, [1])
    assert logs.has(run)
    assert not logs.has(run + "0")


@pytest.mark.parametrize("content", [b"", b"PK no zip", None])
def test_a_file_that_is_no_recording(tmp_path, content):
    [run] = recorded_runs.write(tmp_path, [1])
    logs = ComponentLogs(tmp_path)
    whole = logs.path(run).read_bytes()
    logs.path(run).write_bytes(whole[:-30] if content is None else content)
    with pytest.raises(
        RecordsError, match=f"{run}.npz is no recording of this version"
    ):
        logs.load(run)
    logs.path(run).unlink()
    with pytest.raises(RecordsError, match="cannot be read: No such file"):
        logs.load(run)


def test_a_recording_whose_bytes_are_damaged(tmp_path):
    [run] = recorded_runs.write(tmp_path, [1])
    logs = ComponentLogs(tmp_path)
    header = b"{'descr': ("
    length = len(header).to_bytes(2, "little")
    with zipfile.ZipFile(logs.path(run), "w") as file:
        file.writestr("format.npy", b"\x93NUMPY\x01\x00" + length + header)
    # NumPy looks for what older Pythons wrote.
    with np.load(logs.path(run)) as file, pytest.raises(tokenize.TokenError):
        file["format"]
    with pytest.raises(RecordsError, match="is no recording of this version"):
        logs.load(run)


def test_copies_what_is_missing(tmp_path):
    runs = recorded_runs.write(tmp_path / "a", [1, 2])
    here = ComponentLogs(tmp_path / "here")
    (tmp_path / "here").mkdir()
    here.folder.mkdir()
    here.path(runs[0]).write_bytes(b"mine")
    here.copy_from([tmp_path / "a", tmp_path / "nowhere"])
    assert here.path(runs[0]).read_bytes() == b"mine"
    assert here.load(runs[1]).names == ComponentLogs(tmp_path / "a").load(runs[1]).names
