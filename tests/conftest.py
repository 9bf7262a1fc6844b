"""Fixtures that every test may use."""

import os
import pathlib

import pytest

# Scripts that record what PyTorch computes; the tests need only what they recorded.
collect_ignore_glob = ["record_*.py", "save_*.py"]


@pytest.fixture(scope="session")
def shared_dir() -> pathlib.Path:
    """Folder with real GLUE data and a real pretrained encoder.

    It is named by the environment variable CWGNC_SHARED or lies beside the project
    as ``../shared``; tests that need it are skipped where it is absent.
    """
    project = pathlib.Path(__file__).resolve().parents[1]
    folder = pathlib.Path(os.environ.get("CWGNC_SHARED", project.parent / "shared"))
    if not (folder / "glue").is_dir() or not (folder / "models").is_dir():
        pytest.skip(f"no real GLUE data and encoder in {folder} (set CWGNC_SHARED)")
    return folder
