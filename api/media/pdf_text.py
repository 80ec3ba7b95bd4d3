"""A program of its own: reads a PDF from its input and writes its text as JSON. See `api.media.pdf`.

A PDF can be made to take any reader hours and gigabytes, so it is read where both can be taken away.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

MEMORY_BYTES = 1 << 30


def main() -> None:
    max_pages, max_characters, seconds = map(int, sys.argv[1:4])
    _limit(seconds)
    try:
        answer = _read(sys.stdin.buffer.read(), max_pages, max_characters)
    except MemoryError:
        answer = {"error": "reading it takes too much memory"}
    except Exception as error:  # pypdf lets through what it stumbles over
        answer = {"error": f"it is damaged ({type(error).__name__}: {str(error)[:200]})"}
    json.dump(answer, sys.stdout)


def _read(data: bytes, max_pages: int, max_characters: int) -> dict[str, object]:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        return {"error": "it is encrypted: send it without its password"}
    count = len(reader.pages)
    if count > max_pages:
        return {"error": f"it has {count} pages, {max_pages} are allowed"}
    texts: list[str] = []
    for page in reader.pages:
        texts.append(page.extract_text().strip())
        if sum(map(len, texts)) > max_characters:
            return {"error": f"it has more than {max_characters} characters of text"}
    if not any(texts):
        return {"error": "there is no text in it (is it a scan? send its pages as images)"}
    return {"pages": count, "text": "\n\n".join(f"[Page {number}]\n{text}" for number, text in enumerate(texts, 1))}


def _limit(seconds: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for what, most in {resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CPU: seconds + 1}.items():
        with contextlib.suppress(OSError, ValueError):  # a lower limit stays; macOS knows none of memory
            resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
