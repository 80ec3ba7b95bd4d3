"""Where GGUF files lie: MODELS_DIR, LM Studio's folder, the Hugging Face cache; and which files make one variant."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from shared.catalog.naming import PART, QUANTIZATION, printable

Source = Literal["models_dir", "lm_studio", "hugging_face"]
DEEPEST = 4  # folders below a root: publisher/model, and two for quantizations or parts


@dataclass(slots=True)
class FileSet:
    """The file of one variant, or the parts of a split one."""

    source: Source
    model: str  # the key: publisher/model
    stem: str  # what tells it from the model's other files: its path below the model without `.gguf` and part number
    count: int = 1  # parts it should have
    parts: dict[int, Path] = field(default_factory=dict)  # those that are there, by number from 1

    @property
    def missing(self) -> list[int]:
        """The numbers of the parts that are not there."""
        return [number for number in range(1, self.count + 1) if number not in self.parts]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The parts in order; llama.cpp is given the first and finds the others."""
        return tuple(self.parts[number] for number in sorted(self.parts))


def find_file_sets(models_dir: Path, environ: Mapping[str, str]) -> list[FileSet]:
    """Every GGUF in the folders that exist, MODELS_DIR's first. Names alone are looked at; nothing is opened."""
    home = Path(environ.get("HOME") or Path.home())
    found = list(_in_tree("models_dir", models_dir))
    for folder in (home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"):
        found += _in_tree("lm_studio", folder)
    found += _in_hub_cache(_hub_cache(home, environ))
    return found


def _in_tree(source: Source, root: Path) -> Iterator[FileSet]:
    """LM Studio's layout `publisher/model/file.gguf`; files that lie higher up become models without publisher."""
    entries = []
    for path in _gguf_files(root, DEEPEST):
        *folders, _ = path.relative_to(root).parts
        model = "/".join(folders[:2]) or _bare_name(path)
        inside = path.relative_to(root.joinpath(*folders[:2]))
        entries.append((model, inside, path))
    return _sets(source, entries)


def _hub_cache(home: Path, environ: Mapping[str, str]) -> Path:
    """Where huggingface_hub keeps repositories: https://huggingface.co/docs/huggingface_hub/guides/manage-cache"""
    if cache := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    xdg_cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    return Path(environ.get("HF_HOME") or xdg_cache / "huggingface").expanduser() / "hub"


def _in_hub_cache(cache: Path) -> Iterator[FileSet]:
    """`models--org--name/snapshots/<revision>/file.gguf`; of several revisions the newest that has the file."""
    entries: dict[tuple[str, PurePath], tuple[str, PurePath, Path]] = {}
    for repository in _folders(cache):
        if not repository.name.startswith("models--"):
            continue
        model = repository.name.removeprefix("models--").replace("--", "/")
        for revision in _revisions(repository):
            for path in _gguf_files(revision, DEEPEST - 2):
                inside = path.relative_to(revision)
                entries.setdefault((model, inside), (model, inside, path))
    return _sets("hugging_face", entries.values())


def _revisions(repository: Path) -> list[Path]:
    """The snapshots of a cached repository: what `main` means first, then the newest."""
    try:
        main = (repository / "refs" / "main").read_bytes()[:64].decode("ascii", "replace").strip()
    except OSError:
        main = ""
    snapshots = _folders(repository / "snapshots")
    return sorted(snapshots, key=lambda path: (path.name == main, path.stat().st_mtime), reverse=True)


def _sets(source: Source, entries: Iterable[tuple[str, PurePath, Path]]) -> Iterator[FileSet]:
    """Puts the parts of split files together; an entry is (model, path below the model, path)."""
    sets: dict[tuple[str, str, int], FileSet] = {}
    for model, inside, path in entries:
        stem, number, count = str(inside.with_suffix("")), 1, 1
        part = PART.match(stem)
        if part and 1 <= int(part["number"]) <= int(part["count"]):
            stem, number, count = part["stem"], int(part["number"]), int(part["count"])
        key = (model, stem, count)
        sets.setdefault(key, FileSet(source, printable(model), stem, count)).parts[number] = path
    return iter(sets.values())


def _gguf_files(folder: Path, depth: int, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """The `.gguf` files in `folder` and `depth` levels below, sorted. Links are followed, hidden folders are not."""
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link to a folder that holds it
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if depth:
                yield from _gguf_files(folder / entry.name, depth - 1, (*above, here))
        elif entry.name.lower().endswith(".gguf"):
            yield folder / entry.name


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def _bare_name(path: Path) -> str:
    """What to call the model of a file that lies in no folder: its name without quantization and part number."""
    part = PART.match(path.stem)
    stem = part["stem"] if part else path.stem
    return QUANTIZATION.sub("", stem).strip("-._ ") or stem
