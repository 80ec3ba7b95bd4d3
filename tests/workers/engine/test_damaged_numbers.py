"""Wrong numbers in a header: no file that the catalog calls sound ends the process that loads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gguf

from shared.catalog import HeaderError, read_header
from shared.settings import REPOSITORY_MODELS
from tests.shared.patched_gguf import patched

DEMO = REPOSITORY_MODELS / "llamarelay/spark/spark-Q8_0.gguf"
VALUES = {
    gguf.GGUFValueType.UINT32: ("<I", (0, 1, 2**31 - 1, 2**32 - 1)),
    gguf.GGUFValueType.FLOAT32: ("<f", (0.0, -1.0, float("nan"), float("inf"))),
}


def test_no_damaged_number_of_a_sound_header_ends_the_process(tmp_path: Path) -> None:
    whole, files, refused = DEMO.read_bytes(), [DEMO], 0
    for key, field in gguf.GGUFReader(DEMO).fields.items():
        if key.startswith("GGUF.") or field.types[0] not in VALUES:
            continue
        layout, values = VALUES[field.types[0]]
        for value in values:
            path = tmp_path / f"{key}={value}.gguf"
            path.write_bytes(patched(whole, key, value, layout))
            try:
                read_header(path)
                files.append(path)
            except HeaderError:
                refused += 1
                path.unlink()
    program = [sys.executable, "-m", "tests.workers.engine.loads", *map(str, files)]
    output = subprocess.run(program, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(output) == len(files)
    assert output[0] == f"said {DEMO.name}"
    assert [line for line in output if line.startswith("ended")] == []
    assert refused > 0
