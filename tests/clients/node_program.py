"""Runs the scripts in `node/`, one case at a time."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "node"
OLDEST = 20
SECONDS = 60.0


def find_node() -> str | None:
    """Why the JavaScript clients cannot be tested here, None if they can."""
    if not shutil.which("node") or not shutil.which("npm"):
        return f"the JavaScript clients need Node {OLDEST} or newer with npm, which are not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(re.findall(r"\d+", version)[0]) < OLDEST:
        return f"the JavaScript clients need Node {OLDEST} or newer, found {version.strip()}"
    return None


class Node:
    """Node, with the clients installed."""

    async def run(self, script: str, case: str, url: str, model: str, **options: Any) -> Any:
        """What a case of a script returns. Fails with the script's own words if it throws or takes too long."""
        process = await asyncio.create_subprocess_exec(
            "node",
            script,
            case,
            json.dumps({"url": url, "model": model, **options}),
            cwd=FOLDER,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SECONDS):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, errors.decode()[-3000:]
        return json.loads(output)
