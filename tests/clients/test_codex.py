"""The Codex CLI completes turns: its long prompts, its tools (namespaces and hosted ones), its stateless way."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.node_program import find_node
from tests.conftest import StackFactory
from tests.e2e.server import Up
from tests.stack import Stack
from workers.engine.scripted import Script, ScriptedEngine

FOLDER = Path(__file__).parent / "codex"
TEMPLATES = Path(__file__).parent.parent / "workers" / "dialects" / "templates"
MODEL = "llamarelay/spark"
SECONDS = 240.0


@pytest.fixture(scope="session")
def codex() -> Path:
    """The program, installed again only when its lock file changes."""
    missing = find_node()
    if missing:
        pytest.skip(missing)
    lock = (FOLDER / "package-lock.json").read_bytes()
    stamp = FOLDER / "node_modules" / ".installed"
    if not stamp.is_file() or stamp.read_bytes() != lock:
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"], cwd=FOLDER, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        stamp.write_bytes(lock)
    return FOLDER / "node_modules" / ".bin" / "codex"


async def turn(program: Path, url: str, home: Path, prompt: str, *settings: str) -> str:
    """What Codex prints as the answer of one turn of `codex exec`; `settings` are lines of its config.toml."""
    project = home / "project"
    project.mkdir(parents=True)
    own = "\n".join(settings)
    config = f"""
model = "{MODEL}"
model_provider = "llamarelay"
{own}
[model_providers.llamarelay]
name = "llamarelay"
base_url = "{url}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""
    (home / "config.toml").write_text(config)
    process = await asyncio.create_subprocess_exec(
        str(program),
        "exec",
        "--skip-git-repo-check",
        "--json",
        prompt,
        cwd=project,
        env={"CODEX_HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    events = [json.loads(line) for line in output.decode().splitlines() if line.startswith("{")]
    kinds = [event["type"] for event in events]
    assert process.returncode == 0, (kinds, errors.decode()[-2000:], output.decode()[-2000:])
    assert "turn.completed" in kinds
    assert "error" not in kinds, events
    messages = [event["item"] for event in events if event["type"] == "item.completed"]
    return "\n".join(item["text"] for item in messages if item["type"] == "agent_message")


@pytest.fixture
async def qwen(make_stack: StackFactory) -> Stack:
    template = (TEMPLATES / "Qwen-Qwen3-0.6B.jinja").read_text()
    return await make_stack(
        loader=lambda *_: ScriptedEngine(chat_template=template, context_length=1_000_000), encryption_key="k"
    )


async def test_a_plain_turn(codex: Path, qwen: Stack, tmp_path: Path) -> None:
    qwen.engine.play(Script("<think>", "A greeting.", "</think>", "Hello ", "there."))
    assert await turn(codex, qwen.url, tmp_path / "home", "Hello") == "Hello there."


async def test_a_turn_with_a_tool_call(codex: Path, qwen: Stack, tmp_path: Path) -> None:
    call = ("<tool_call>", "\n", '{"name": "get_goal", "arguments": ', "{}", "}", "\n", "</tool_call>")
    qwen.engine.play(Script("<think>", "A goal.", "</think>", *call), Script("All done."))
    assert await turn(codex, qwen.url, tmp_path / "home", "What is the goal?") == "All done."
    prompt = qwen.engine.text(qwen.engine.requests[-1].tokens)
    assert '"name": "get_goal"' in prompt
    assert "<tool_response>" in prompt


@pytest.mark.timeout(300)
async def test_a_turn_with_the_demo_model(codex: Path, up: Up, tmp_path: Path) -> None:
    # after Codex' 16,000 tokens, which it was not trained for, so small a model may think for thousands more
    await turn(codex, up.url, tmp_path / "home", "Hello", 'model_reasoning_effort = "none"')
