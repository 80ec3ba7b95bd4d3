"""Reading a GGUF's header: what it says, and what a broken or hostile file costs."""

from __future__ import annotations

import math
import os
import resource
import struct
import tracemalloc
from pathlib import Path

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.catalog import Header, HeaderError, read_header
from tests.shared.gguf_files import write_gguf
from tests.shared.patched_gguf import patched

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


@pytest.mark.parametrize(
    ("key", "layout", "value"),
    [
        *(("block_count", "<I", value) for value in (0, 513, 2**31 - 1, 2**32 - 1)),
        ("embedding_length", "<I", 0),
        *(("attention.layer_norm_rms_epsilon", "<f", value) for value in (-1.0, math.nan, math.inf)),
    ],
)
def test_numbers_at_which_llama_cpp_ends_its_process_are_refused(
    key: str, layout: str, value: float, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "m.gguf", extra=lambda writer: writer.add_layer_norm_rms_eps(1e-6))
    assert read_header(path).layers == 2
    path.write_bytes(patched(path.read_bytes(), f"qwen3.{key}", value, layout))
    with pytest.raises(HeaderError, match=rf"damaged: it.* {key.rpartition('.')[2]}|block_count"):
        read_header(path)


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


FLOAT32, BOOL, UINT64, INT64, INT32 = 6, 7, 10, 11, 5
WRONG_TYPES = {
    "an architecture that is a number": pair(b"general.architecture", UINT32, bytes(4)),
    "an architecture that is a list": pair(b"general.architecture", ARRAY, struct.pack("<IQ", UINT32, 1) + bytes(4)),
    "a template that is a number": pair(b"tokenizer.chat_template", FLOAT32, struct.pack("<f", float("nan"))),
    "a template that is a list": pair(b"tokenizer.chat_template", ARRAY, struct.pack("<IQ", STRING, 1) + string(b"{{")),
    "a template that is no text": pair(b"tokenizer.chat_template", STRING, string(b"\xff\xfe\x00{{")),
    "a vocabulary that is a number": pair(b"tokenizer.ggml.tokens", UINT64, bytes(8)),
    "a vocabulary of numbers": pair(b"tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", INT32, 2) + bytes(8)),
    "a context that is a text": pair(b"qwen3.context_length", STRING, string(b"4096")),
    "a context that is not a number": pair(b"qwen3.context_length", FLOAT32, struct.pack("<f", float("inf"))),
    "a context below zero": pair(b"qwen3.context_length", INT64, struct.pack("<q", -1)),
    "a context that is true": pair(b"qwen3.context_length", BOOL, b"\x01"),
    "an enormous context": pair(b"qwen3.context_length", UINT64, struct.pack("<Q", HUGE)),
    "a file type of no name": pair(b"general.file_type", UINT32, struct.pack("<I", 4_000_000_000)),
    "a file type that is a text": pair(b"general.file_type", STRING, string(b"15")),
    "a count of parts that is a text": pair(b"split.count", STRING, string(b"2")),
    "a count of parts below zero": pair(b"split.count", INT32, struct.pack("<i", -2)),
    "a name of spaces": pair(b"general.name", STRING, string(b" \n ")),
    "an alignment that is a text": pair(b"general.alignment", STRING, string(b"33")),
    "an empty key": pair(b"", UINT32, bytes(4)),
}


@pytest.mark.parametrize("entry", WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_as_if_it_were_not_there(entry: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    architecture = b"" if b"architecture" in entry else pair(b"general.architecture", STRING, string(b"qwen3"))
    path.write_bytes(head(architecture + entry, count=2 if architecture else 1) + bytes(32))
    header = read_header(path)
    assert header.architecture == ("qwen3" if architecture else None)
    assert header.context_length is None
    assert header.name is None
    assert header.file_type is None
    assert header.split_count == 1
    assert header.chat_template is None or "\ufffd" in header.chat_template


@pytest.mark.parametrize("value", [(FLOAT32, struct.pack("<f", 32.0)), (UINT32, b"\x03\0\0\0")])
def test_an_alignment_that_is_none_is_refused(value: tuple[int, bytes], tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    path.write_bytes(head(pair(b"general.alignment", *value)) + bytes(32))
    with pytest.raises(HeaderError, match="not a power of two"):
        read_header(path)


def peak_of(path: Path) -> tuple[Header | HeaderError, int]:
    """What reading a file gives, and the most bytes it took."""
    tracemalloc.start()
    try:
        try:
            found: Header | HeaderError = read_header(path)
        except HeaderError as error:
            found = error
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


NUMBERS = st.sampled_from(
    [0, 1, 2, 8, 9, 12, 255, 1 << 14, 1 << 17, 1 << 22, 1 << 28, 1 << 31, 1 << 40, HUGE - 7, HUGE]
)
PIECES = st.one_of(
    st.binary(max_size=64),
    NUMBERS.map(lambda number: struct.pack("<Q", number)),
    NUMBERS.map(lambda number: struct.pack("<I", number & 0xFFFFFFFF)),
    st.binary(max_size=24).map(string),
    st.sampled_from([b"tokenizer.ggml.tokens", b"general.alignment", b"tokenizer.chat_template"]).map(string),
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, max_size=40), counts=st.tuples(NUMBERS, NUMBERS))
def test_nothing_that_looks_like_metadata_costs_much(
    pieces: list[bytes], counts: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "fuzzed.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, *counts) + b"".join(pieces))
    found, peak = peak_of(path)
    assert isinstance(found, Header) or len(str(found)) < 200
    assert peak < 8 << 20


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 40), PIECES), min_size=1, max_size=4),
    sparse=st.booleans(),
)
def test_nothing_cut_out_or_put_in_crashes_the_reader(
    edits: list[tuple[int, int, bytes]], sparse: bool, tmp_path: Path
) -> None:
    """Also at the head of a file that claims to be large, so that nothing ends early only because the file does."""
    whole = tmp_path / "whole.gguf"
    if not whole.exists():
        write_gguf(whole, vocabulary=3)
    content = bytearray(whole.read_bytes())
    for position, removed, piece in edits:
        position %= len(content) + 1
        content[position : position + removed] = piece
    path = tmp_path / "changed.gguf"
    path.write_bytes(content)
    if sparse:
        os.truncate(path, 1 << 40)
    found, peak = peak_of(path)
    assert isinstance(found, Header) or (str(found).isprintable() and len(str(found)) < 200)
    assert peak < 8 << 20


def test_many_strings_are_stepped_over_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "many.gguf"
    strings = struct.pack("<IQ", STRING, 1 << 18) + bytes(8 << 18)
    path.write_bytes(head(pair(b"a", ARRAY, strings)))
    found, peak = peak_of(path)
    assert isinstance(found, Header)
    assert peak < 8 << 20
