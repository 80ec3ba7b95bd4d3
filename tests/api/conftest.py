"""Models for tests of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.settings import REPOSITORY_MODELS
from tests.workers.engine.random_projectors import any_size


@pytest.fixture(scope="session")
def sighted_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with a projector next to it, and without one."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("llamarelay/spark", "llamarelay/blind"):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name.split('/')[1]}-F16.gguf").symlink_to(
            REPOSITORY_MODELS / "llamarelay/spark/spark-F16.gguf"
        )
    any_size(folder / "llamarelay/spark/mmproj-spark.gguf", 256)
    return folder
