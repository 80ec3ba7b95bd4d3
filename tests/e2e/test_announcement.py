"""The three calls of LM Studio's announcement, verbatim but for host, port and model, by curl."""

from __future__ import annotations

import asyncio
import json

from tests.e2e.server import Up
from tests.wire import check_response, check_stream, parse_sse, reasoning_of, text_of


async def curl(url: str, body: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sN", url, "-H", "Content-Type: application/json", "-d", body, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


async def test_stateful_chat_with_reasoning(up: Up) -> None:
    url = f"{up.url}/v1/responses"
    body = """{
      "model": "llamarelay/spark",
      "input": "Provide a prime number less than 50",
      "reasoning": { "effort": "low" }
    }"""
    first = json.loads(await curl(url, body))
    check_response(first)
    assert reasoning_of(first)
    number = next(word for word in text_of(first).replace(".", " ").split() if word.isdigit())
    assert int(number) in {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47}
    body = f"""{{
      "model": "llamarelay/spark",
      "input": "Multiply it by 2",
      "previous_response_id": "{first["id"]}"
    }}"""
    second = json.loads(await curl(url, body))
    check_response(second)
    assert str(2 * int(number)) in text_of(second)


async def test_streaming(up: Up) -> None:
    body = '{"model": "llamarelay/spark", "input": "Hello", "stream": true}'
    final = check_stream(parse_sse(await curl(f"{up.url}/v1/responses", body)))
    assert final["status"] == "completed"
    assert text_of(final)
