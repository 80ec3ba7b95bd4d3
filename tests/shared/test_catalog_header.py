"""Reading a GGUF's header: what it says, and what a broken or hostile file costs."""

from __future__ import annotations

import os
import resource
import struct
from pathlib import Path

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.catalog import Header, HeaderError, read_header
from tests.shared.gguf_files import write_gguf

STRING, ARRAY, UINT32 = 8, 9, 4


def test_it_reads_what_the_file_says(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", tensors=3, vocabulary=17)
    assert read_header(path) == Header(
        size_bytes=path.stat().st_size,
        parameters=3 * 256,
        architecture="qwen3",
        name="A test model",
        license="mit",
        file_type="F16",
        largest_tensor_type="F16",
        context_length=4096,
        embedding_length=32,
        layers=2,
        vocabulary=17,
        chat_template="{{ messages[0].content }}",
    )


def test_it_agrees_with_the_library_about_the_demo_model() -> None:
    for path in sorted(Path(__file__).resolve().parents[2].glob("models/llamarelay/spark/*.gguf")):
        ours, theirs = read_header(path), gguf.GGUFReader(path)
        assert ours.parameters == sum(tensor.n_elements for tensor in theirs.tensors)
        assert ours.vocabulary == len(theirs.fields["tokenizer.ggml.tokens"].data)
        assert ours.chat_template == theirs.fields["tokenizer.chat_template"].contents()
        assert ours.context_length == theirs.fields[f"{ours.architecture}.context_length"].contents()


def test_a_vocabulary_larger_than_the_read_ahead_is_stepped_over(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "large.gguf", vocabulary=60_000)
    header = read_header(path)
    assert header.vocabulary == 60_000
    assert header.chat_template == "{{ messages[0].content }}"


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf", vocabulary=3).read_bytes()
    path = tmp_path / "cut.gguf"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(HeaderError, match=r"truncated|not a GGUF|download"):
            read_header(path)


def test_a_preallocated_download_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(4096))
    with pytest.raises(HeaderError, match="its download did not finish"):
        read_header(path)


def head(pairs: bytes = b"", *, count: int = 1, tensors: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, count) + pairs


def string(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return string(key) + struct.pack("<I", kind) + value


def tensor(*dimensions: int, kind: int = 0, offset: int = 0) -> bytes:
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return string(b"t") + shape + struct.pack("<IQ", kind, offset)


HUGE = (1 << 64) - 1
HOSTILE = {
    "another format": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "version 1": head(version=1),
    "big endian": head(version=0x03000000),
    "many pairs": head(count=HUGE),
    "many tensors": head(count=0, tensors=HUGE),
    "a huge key": head(string(b"general.name", HUGE)),
    "a key of a megabyte": head(pair(b"k" * (1 << 20), UINT32, bytes(4))),
    "a huge string": head(pair(b"general.name", STRING, string(b"x", HUGE))),
    "a huge string nobody wants": head(pair(b"other", STRING, string(b"x", HUGE))),
    "a huge template": head(pair(b"tokenizer.chat_template", STRING, string(b"x" * (2 << 20)))),
    "a huge array": head(pair(b"a", ARRAY, struct.pack("<IQ", UINT32, HUGE))),
    "a huge array of strings": head(pair(b"a", ARRAY, struct.pack("<IQ", STRING, HUGE))),
    "empty strings without end": head(pair(b"a", ARRAY, struct.pack("<IQ", STRING, 1 << 30) + bytes(1 << 20))),
    "strings that jump away": head(pair(b"a", ARRAY, struct.pack("<IQ", STRING, 9) + string(b"", HUGE) * 9)),
    "arrays of arrays": head(pair(b"a", ARRAY, struct.pack("<IQ", ARRAY, 1)) + bytes(100)),
    "an unknown type": head(pair(b"a", 99, bytes(8))),
    "an array of an unknown type": head(pair(b"a", ARRAY, struct.pack("<IQ", 99, 1) + bytes(8))),
    "a key twice": head(pair(b"a", UINT32, bytes(4)) * 2, count=2),
    "no alignment": head(pair(b"general.alignment", UINT32, bytes(4))),
    "many dimensions": head(string(b"t") + struct.pack("<I", HUGE >> 32), count=0, tensors=1),
    "a huge tensor": head(tensor(HUGE, HUGE, HUGE, HUGE), count=0, tensors=1),
    "a tensor behind the end": head(tensor(32, offset=HUGE), count=0, tensors=1),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_with_a_short_reason(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(HeaderError) as refusal:
        read_header(path)
    assert len(str(refusal.value)) < 200
    assert str(refusal.value).isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


def test_metadata_that_fill_a_sparse_file_are_not_read_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "sparse.gguf"
    path.write_bytes(head(pair(b"a", ARRAY, struct.pack("<IQ", UINT32, 1 << 36))))
    os.truncate(path, 1 << 40)
    with pytest.raises(HeaderError, match="MiB of metadata"):
        read_header(path)


def test_text_is_made_safe_for_a_terminal(tmp_path: Path) -> None:
    path = write_gguf(
        tmp_path / "m.gguf", extra=lambda w: w.kv_data[0].pop("general.name") and w.add_name("\x1b[31m\nred" * 99)
    )
    name = read_header(path).name
    assert name is not None
    assert name.isprintable()
    assert len(name) <= 200


def test_a_pipe_and_a_folder_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "folder.gguf").mkdir()
    for name in ("pipe.gguf", "folder.gguf"):
        with pytest.raises(HeaderError, match=r"regular file|cannot be read"):
            read_header(tmp_path / name)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), min_size=1, max_size=8))
def test_no_change_of_bytes_crashes_the_reader(changes: list[tuple[int, int]], tmp_path: Path) -> None:
    whole = tmp_path / "whole.gguf"
    if not whole.exists():
        write_gguf(whole, vocabulary=3)
    content = bytearray(whole.read_bytes())
    for position, value in changes:
        content[position % len(content)] = value
    path = tmp_path / "changed.gguf"
    path.write_bytes(content)
    try:
        header = read_header(path)
    except HeaderError:
        return
    assert header.parameters >= 0
