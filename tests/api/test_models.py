"""`/v1/models`, `/healthz`, `/readyz`."""

from __future__ import annotations

from openai.types import Model
from pydantic import TypeAdapter

from shared.catalog import Catalog
from tests.conftest import StackFactory
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
