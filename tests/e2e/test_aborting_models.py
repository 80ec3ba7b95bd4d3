"""A file whose load ends the process, as llama.cpp aborts: it is unavailable with the reason, all else goes on."""

from __future__ import annotations

import shutil
import struct
import time
from pathlib import Path

import gguf
import openai
import pytest

from shared.catalog import Catalog
from shared.settings import REPOSITORY_MODELS
from tests.e2e.server import MODEL, Up
from tests.shared.patched_gguf import patched
from tests.workers.engine.random_models import hybrid, sliding_window
from workers.models import LOST

BAD = "bad/x"


def unloadable(path: Path) -> None:
    hybrid(path)
    path.write_bytes(patched(path.read_bytes(), "jamba.embedding_length", 63))


def uncomputable(path: Path) -> None:
    """It can be loaded; what it says cannot be computed, as one of its matrices is of whole numbers."""
    sliding_window(path)
    whole, name = path.read_bytes(), b"blk.0.attn_q.weight"
    start = whole.index(name) + len(name) + struct.calcsize("<IQQ")  # behind the dimensions
    path.write_bytes(whole[:start] + struct.pack("<I", gguf.GGMLQuantizationType.I32) + whole[start + 4 :])


@pytest.fixture(params=[unloadable, uncomputable], ids=lambda make: make.__name__)
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the demo model and one at which llama.cpp aborts, though nothing in its header looks wrong."""
    folder = tmp_path / "models"
    good, bad = folder / MODEL / "spark-Q8_0.gguf", folder / BAD / "x-F32.gguf"
    for file in (good, bad):
        file.parent.mkdir(parents=True)
    shutil.copy(REPOSITORY_MODELS / MODEL / good.name, good)
    request.param(bad)
    assert all(model.default for model in Catalog(folder, {}).models)
    return folder


def up(folder: Path, models: Path, **environ: str) -> Up:
    short = {"LEASE_SECONDS": "1.5", "HEARTBEAT_SECONDS": "1", "POLL_SECONDS": "0.2", "THREADS": "1"}
    return Up(folder, environ={"MODELS_DIR": str(models), **short, **environ})


def ask(client: openai.OpenAI, model: str) -> str:
    return client.responses.create(model=model, input="Hi", reasoning={"effort": "none"}).output_text


def refused(client: openai.OpenAI) -> str:
    with pytest.raises(openai.APIStatusError) as error:
        ask(client, BAD)
    return str(error.value)


def until_refused(client: openai.OpenAI, reason: str) -> None:
    deadline = time.monotonic() + 30
    while reason not in (answer := refused(client)):
        assert time.monotonic() < deadline, answer


def crashes(server: Up) -> int:
    assert server.process is not None
    return server.process.output().count("was killed by SIG")


def test_one_try_ends_one_process_and_every_other_model_serves_on(tmp_path: Path, models: Path) -> None:
    with up(tmp_path, models) as server, server.sdk() as client:
        assert ask(client, MODEL)
        assert LOST in refused(client)  # whoever asked first
        assert crashes(server) == 1
        until_refused(client, "Error code: 503")  # as soon as the card of the lost worker has gone
        assert ask(client, MODEL)
        assert crashes(server) == 1


@pytest.mark.parametrize("models", [unloadable], indirect=True)
def test_a_default_model_that_cannot_be_borne_keeps_no_worker_from_its_others(tmp_path: Path, models: Path) -> None:
    with up(tmp_path, models, DEFAULT_MODEL=BAD) as server, server.sdk() as client:
        until_refused(client, LOST)
        assert ask(client, MODEL)
        assert crashes(server) == 1
