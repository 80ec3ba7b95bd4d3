"""`/v1/models`, `/healthz`, `/readyz`."""

from __future__ import annotations

from pathlib import Path

from openai.types import Model
from pydantic import TypeAdapter

from shared.catalog import Catalog
from tests.conftest import StackFactory
from tests.shared.gguf_files import write_gguf
from tests.stack import Stack
from workers.engine.scripted import ScriptedEngine
from workers.models import served


async def test_models_are_listed_with_their_variants(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0)
    names = ("llamarelay/spark@q8_0", "llamarelay/spark@f16")
    catalog = Catalog(stack.settings.models_dir, {})
    await stack.add_worker(lambda *_: ScriptedEngine(), served(catalog, names))
    await stack.get("/readyz")
    _, listed = await stack.get("/v1/models")
    assert listed["object"] == "list"
    [spark] = listed["data"]
    assert (spark["id"], spark["owned_by"], sorted(spark["variants"])) == (
        "llamarelay/spark",
        "llamarelay",
        sorted(names),
    )
    TypeAdapter(Model).validate_python(spark)
    for name in ("llamarelay/spark", *names):
        status, model = await stack.get(f"/v1/models/{name}")
        assert (status, model["id"]) == (200, name)
        assert model["context_length"] > 0
    status, body = await stack.get("/v1/models/llamarelay/teapot")
    assert (status, body["error"]["code"]) == (404, "model_not_found")


async def test_a_variant_can_be_asked_for_by_name(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0)
    catalog = Catalog(stack.settings.models_dir, {})
    asked = []

    def load(path: object, *_: object) -> ScriptedEngine:
        asked.append(str(path))
        return ScriptedEngine()

    await stack.add_worker(load, served(catalog, ("llamarelay/spark@q8_0", "llamarelay/spark@f16")))
    status, response = await stack.post(model="llamarelay/spark@f16", input="Hi")
    assert (status, response["model"]) == (200, "llamarelay/spark@f16")
    assert asked[-1].endswith("spark-F16.gguf")


async def test_the_default_model_answers_when_none_is_named(stack: Stack) -> None:
    status, response = await stack.post(body={"input": "Hi"})
    assert (status, response["model"]) == (200, "llamarelay/spark")


async def test_ready_means_a_live_worker(make_stack: StackFactory) -> None:
    stack = await make_stack(workers=0)
    assert (await stack.get("/healthz"))[0] == 200
    status, body = await stack.get("/readyz")
    assert (status, body["error"]["code"]) == (503, "no_worker")
    worker = await stack.add_worker(lambda *_: ScriptedEngine())
    assert await stack.get("/readyz") == (200, {"status": "ready", "workers": 1})
    stack.workers.remove(worker)
    await worker.stop()
    assert (await stack.get("/readyz"))[0] == 503


async def serving(make_stack: StackFactory, folder: Path, *names: str) -> Stack:
    """A stack that serves made-up models of these keys."""
    for name in names:
        write_gguf(folder / name / "m-Q8_0.gguf")
    stack = await make_stack(workers=0)
    catalog = Catalog(folder, {})
    await stack.add_worker(lambda *_: ScriptedEngine(), served(catalog, names))
    return stack


async def test_a_model_may_be_called_without_its_publisher(make_stack: StackFactory, tmp_path: Path) -> None:
    stack = await serving(make_stack, tmp_path, "org/Alpha", "org/beta", "other/beta")
    for name, full in (("alpha", "org/Alpha"), ("ALPHA@q8_0", "org/Alpha@q8_0"), ("other/BETA", "other/beta")):
        status, response = await stack.post(model=name, input="Hi")
        assert (status, response["model"]) == (200, full)
        status, model = await stack.get(f"/v1/models/{name}")
        assert (status, model["id"]) == (200, full)


async def test_a_short_name_of_two_models_is_a_404_that_names_both(make_stack: StackFactory, tmp_path: Path) -> None:
    stack = await serving(make_stack, tmp_path, "org/alpha", "org/beta", "other/beta")
    for status, body in (await stack.post(model="beta", input="Hi"), await stack.get("/v1/models/beta")):
        assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")
        assert "Several models" in body["error"]["message"]
        assert body["error"]["message"].endswith("Available: org/beta, other/beta.")


async def test_a_404_lists_close_matches_first(make_stack: StackFactory, tmp_path: Path) -> None:
    stack = await serving(make_stack, tmp_path, "a/llama", "b/gemma", "c/qwen")
    for status, body in (await stack.post(model="gema", input="Hi"), await stack.get("/v1/models/gema")):
        assert status == 404
        assert "Available: b/gemma, " in body["error"]["message"]
    for wrong in ("gemma@q2_k", "gemma@"):
        _, body = await stack.post(model=wrong, input="Hi")
        assert body["error"]["message"].endswith("Available: b/gemma@q8_0.")


async def test_a_404_lists_no_more_than_a_few_names(make_stack: StackFactory, tmp_path: Path) -> None:
    stack = await serving(make_stack, tmp_path, *(f"org/m{number}" for number in range(14)))
    _, body = await stack.post(model="x" * 200, input="Hi")
    assert body["error"]["message"].endswith(" and 4 more.")
    assert len(body["error"]["message"]) < 300
