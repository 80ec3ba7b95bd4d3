"""A whole conversation at debug level: no log holds what was said, and neither logs nor Redis hold a key."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from cli.embedded_redis import EmbeddedRedis
from shared.api_keys import PREFIX, entry_of, new_key
from tests.e2e.server import MODEL, Up

SECRET = "marker-8c41"  # stands in everything that a client says
ENCRYPTION = "the-encryption-secret-77"
KEY, WRONG = new_key(), PREFIX + "wrong-key-9911"


@contextmanager
def served(folder: Path, **environ: str) -> Iterator[str]:
    """The URL of a server on a Redis of its own, which writes every command it gets into its file."""
    with EmbeddedRedis(folder / "redis", port=0) as redis:
        settings = {
            "LOG_LEVEL": "debug", "ENCRYPTION_KEY": ENCRYPTION, "REDIS_URL": redis.url, "MODELS": MODEL,
            "API_KEYS": f"{entry_of('alice', KEY)},{entry_of('bob', new_key(), rpm=1000)}", **environ,
        }  # fmt: skip
        with Up(folder, environ=settings) as server:
            yield server.url


def logs_of(folder: Path) -> str:
    files = [folder / "up.log", *sorted((folder / "data" / "logs").glob("*.log*"))]
    return "\n".join(file.read_text(errors="replace") for file in files)


async def talk(url: str) -> list[str]:
    """Says the marker wherever something can be said, well and badly; returns what was answered."""
    headers = {"Authorization": f"Bearer {KEY}", "X-Client-Request-Id": "a-client-id"}
    tool = {"type": "function", "name": f"{SECRET}_tool", "parameters": {"type": "object", "properties": {SECRET: {}}}}
    call = {
        "type": "function_call",
        "call_id": f"call-{SECRET}",
        "name": tool["name"],
        "arguments": json.dumps({SECRET: 1}),
    }
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": f"rain {SECRET}"}
    file = "data:text/plain;base64," + base64.b64encode(f"in the file {SECRET}".encode()).decode()
    parts = [
        {"type": "input_text", "text": SECRET},
        {"type": "input_file", "filename": f"{SECRET}.txt", "file_data": file},
    ]
    user = {"role": "user", "content": parts}
    small = {"max_output_tokens": 24, "reasoning": {"effort": "low"}}
    bodies: list[dict[str, Any]] = [
        {"input": [user], "instructions": f"Be {SECRET}.", "metadata": {"a": SECRET}, "user": SECRET, **small},
        {"input": [user, call, output], "tools": [tool], **small},
        {"input": "Give me a prime number less than 50", "include": ["reasoning.encrypted_content"], **small},
        {"input": "x", "tools": [tool], "tool_choice": "required", **small, "reasoning": {"effort": "none"}},
        {"input": [{"role": "user", "content": [{"type": SECRET}]}]},
        {"input": [{"type": "item_reference", "id": SECRET}]},
        {"input": [{"type": "compaction", "encrypted_content": SECRET}]},
        {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": SECRET}}}},
        {"input": "x", SECRET: 1},
        {"input": [user] * 2000, "truncation": "disabled"},  # too long: measured by a worker
    ]  # fmt: skip
    answers: list[str] = []
    async with aiohttp.ClientSession(headers=headers) as http:

        async def post(path: str, **options: Any) -> Any:
            async with http.post(url + path, **options) as answer:
                answers.append(await answer.text())
                return answer

        for number, body in enumerate(bodies):
            for stream in (False, True):
                extra = {"Idempotency-Key": f"{SECRET}-{number}-{stream}"}
                await post("/v1/responses", json={"model": MODEL, "stream": stream, **body}, headers=extra)
        await post("/v1/responses", data=f'{{"input": {SECRET}'.encode())
        await post("/v1/responses", json={"model": SECRET, "input": "x"})
        await post("/v1/responses/compact", json={"model": MODEL, "input": SECRET})
        await post("/v1/responses/input_tokens", json={"model": MODEL, "input": SECRET})
        await post(
            "/v1/conversations", json={"items": [{"role": "user", "content": SECRET}], "metadata": {"a": SECRET}}
        )
        await post("/v1/responses", json={}, headers={"Authorization": f"Bearer {WRONG}"})
        async with http.get(f"{url}/v1/responses/resp_x?include={SECRET}&api_key={KEY}") as answer:
            answers.append(await answer.text())
        async with aiohttp.ClientSession() as page:
            for offers in (["responses", f"openai-insecure-api-key.{KEY}"], [f"openai-insecure-api-key.{KEY}"]):
                async with page.ws_connect(url + "/v1/responses", protocols=offers) as socket:
                    frame = {"type": "response.create", "model": MODEL, "input": SECRET, **small}
                    await socket.send_json(frame)
                    await socket.send_str(SECRET)
                    while "response.completed" not in (text := await socket.receive_str()):
                        if '"response.incomplete"' in text:
                            break
    return answers


async def test_no_log_and_no_redis_tells(tmp_path: Path) -> None:
    with served(tmp_path) as url:
        answers = await talk(url)
    logs = logs_of(tmp_path)
    said = [text for text in _texts(answers) if len(text) > 12]
    assert said
    assert len(logs.splitlines()) > 40
    assert '"request"' in logs  # the requests are there, by their ids
    assert "a-client-id" in logs
    for text in (SECRET, KEY, KEY.removeprefix(PREFIX), WRONG, ENCRYPTION, *said):
        assert text not in logs, [line for line in logs.splitlines() if text in line][:3]
    stored = "".join(file.read_text(errors="replace") for file in (tmp_path / "redis").rglob("*") if file.is_file())
    assert SECRET in stored  # that is what Redis is for
    for text in (KEY, KEY.removeprefix(PREFIX), WRONG, ENCRYPTION, "Bearer"):
        assert text not in stored


def _texts(answers: list[str]) -> set[str]:
    """What the model said, from the answers that are no streams."""
    found: set[str] = set()
    for answer in answers:
        if answer.startswith("{"):
            for item in json.loads(answer).get("output", ()):
                found |= {part["text"] for part in item.get("content") or () if part.get("text")}
                found |= {item["arguments"]} if "arguments" in item else set()
    return found


async def test_content_is_logged_where_the_operator_wants_it(tmp_path: Path) -> None:
    with served(tmp_path, LOG_CONTENT="1") as url:
        answers = await talk(url)
    logs = logs_of(tmp_path)
    assert SECRET in logs
    said = [text for text in _texts(answers) if len(text) > 12 and text.isascii() and text.isprintable()]
    plain = [text for text in said if '"' not in text]
    assert plain
    assert all(text in logs for text in plain)
    for text in (KEY, ENCRYPTION, WRONG):
        assert text not in logs
