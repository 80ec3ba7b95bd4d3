"""From files to models: reads headers, puts the parts of split files together and names the variants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from shared.catalog.folders import FileSet
from shared.catalog.header import Header, HeaderError, read_header
from shared.catalog.models import Model, Variant
from shared.catalog.naming import quantization_in, rank, variant_labels

UNKNOWN_QUANTIZATION = "unknown"


class HeaderCache:
    """Headers by path, good for as long as the file's size and modification time stay the same."""

    def __init__(self) -> None:
        self._headers: dict[Path, tuple[int, int, Header | HeaderError]] = {}

    def get(self, path: Path) -> Header | HeaderError:
        """The header of the file at `path`, or why it has none."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return HeaderError("a link to a file that is gone" if path.is_symlink() else "it is gone")
        except OSError as error:
            return HeaderError(f"cannot be read: {error.strerror}")
        size, modified, header = self._headers.get(path, (None, None, None))
        if header is None or (size, modified) != (status.st_size, status.st_mtime_ns):
            try:
                header = read_header(path)
            except HeaderError as error:
                header = error
            self._headers[path] = (status.st_size, status.st_mtime_ns, header)
        return header

    def keep_only(self, paths: set[Path]) -> None:
        """Forgets the files that are not in `paths`."""
        self._headers = {path: entry for path, entry in self._headers.items() if path in paths}


def read_model(sets: Sequence[FileSet], headers: HeaderCache) -> Model:
    """The model that `sets`, all of one key and source, are the files of."""
    projectors: list[FileSet] = []
    weights: list[tuple[FileSet, Header | None, str | None]] = []
    for files in sets:
        header, broken = _read(files, headers)
        if _is_projector(files, header):
            projectors.append(files)
        elif header is None or header.kind not in ("adapter", "imatrix"):
            weights.append((files, header, broken))
    quantizations = [_quantization(files, header) for files, header, _ in weights]
    labels = variant_labels([(files.stem, name) for (files, _, _), name in zip(weights, quantizations, strict=True)])
    variants = [
        Variant(files.model, label, quantization, files.source, files.paths, files.count, _size(files), header, broken)
        for label, quantization, (files, header, broken) in zip(labels, quantizations, weights, strict=True)
    ]
    projectors.sort(key=lambda files: (rank(quantization_in(files.stem) or ""), files.stem))
    return Model(sets[0].model, _sorted(variants), projectors[0].paths[0] if projectors else None)


def merge(first: Model, second: Model) -> Model:
    """Both sources' variants under the first one's key; where both have a variant, the first one's counts."""
    taken = {variant.label for variant in first.variants}
    added = [
        msgspec.structs.replace(variant, model=first.key) for variant in second.variants if variant.label not in taken
    ]
    return Model(first.key, _sorted([*first.variants, *added]), first.projector or second.projector)


def _read(files: FileSet, headers: HeaderCache) -> tuple[Header | None, str | None]:
    """The header of a file, or of all its parts as one, and why it is broken."""
    found = [headers.get(path) for path in files.paths]
    sound = [header for header in found if isinstance(header, Header)]
    reasons = [
        f"{path.name}: {header}" if files.count > 1 else str(header)
        for path, header in zip(files.paths, found, strict=True)
        if isinstance(header, HeaderError)
    ]
    first = found[0] if 1 in files.parts else None
    whole = None
    if isinstance(first, Header):
        whole = msgspec.structs.replace(
            first,
            parameters=sum(header.parameters for header in sound),
            size_bytes=sum(header.size_bytes for header in sound),
        )
    if missing := files.missing:
        which = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        reasons.insert(0, f"part {which} of {files.count} is missing")
    if whole and not reasons:
        reasons += _faults(whole, files)
    return whole, reasons[0] if reasons else None


def _faults(header: Header, files: FileSet) -> Iterable[str]:
    """Why a file whose header is sound still cannot be loaded as a model."""
    if header.split_count != files.count:
        yield f"it says that it has {header.split_count} parts, its name says {files.count}"
    if header.architecture is None:
        yield "it names no architecture"
    if not header.parameters:
        yield "it holds no weights"


def _is_projector(files: FileSet, header: Header | None) -> bool:
    named = "mmproj" in Path(files.stem).name.lower()
    return named or (header is not None and (header.kind == "mmproj" or header.architecture == "clip"))


def _quantization(files: FileSet, header: Header | None) -> str:
    """From the file's name, else its folder's, else its header."""
    name = quantization_in(Path(files.stem).name) or quantization_in(files.stem.replace("/", "-"))
    return name or (header and (header.file_type or header.largest_tensor_type)) or UNKNOWN_QUANTIZATION


def _sorted(variants: Iterable[Variant]) -> tuple[Variant, ...]:
    return tuple(sorted(variants, key=lambda v: (v.broken is not None, rank(v.quantization), v.label)))


def _size(files: FileSet) -> int:
    return sum(path.stat().st_size for path in files.paths if path.exists())
