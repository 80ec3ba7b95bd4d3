"""The contents of files, apart from the items they came with: of what came before, only the text in them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import UNSET, Struct, structs

from shared.schema.content import InputFile, InputPart, InputText, text_of
from shared.schema.items import CustomToolCallOutput, FunctionCallOutput, Item, Message, content_parts


class Content(Struct, array_like=True):
    """What one file came as."""

    data: str | None
    url: str | None


def take_out(items: Sequence[Item]) -> tuple[list[Item], list[Content]]:
    """The items with files that hold nothing but the text that was read in them, and the contents in order."""
    contents = [Content(file.file_data or None, file.file_url or None) for item in items for file in _files(item)]
    return [_changed(item, _emptied) for item in items], contents


def put_back(items: Iterable[Item], contents: Iterable[Content]) -> None:
    """Gives the files in items, all that were taken out together, their contents again."""
    for file, content in zip((file for item in items for file in _files(item)), contents, strict=True):
        if content.data is not None:
            file.file_data = content.data
        if content.url is not None:
            file.file_url = content.url


def as_text(item: Item) -> Item:
    """An item with text in place of its files: a model reads the same."""
    return _changed(item, lambda file: InputText(text=text_of(file)))


def _emptied(file: InputFile) -> InputFile:
    return structs.replace(
        file, file_data=UNSET if file.file_data else file.file_data, file_url=UNSET if file.file_url else file.file_url
    )


def _files(item: Item) -> Iterator[InputFile]:
    return (part for part in content_parts(item) if isinstance(part, InputFile))


def _changed(item: Item, change: Callable[[InputFile], InputPart]) -> Item:
    """An item with each of its files changed; the same one where it has none."""
    if next(_files(item), None) is None:
        return item
    match item:
        case Message():
            content = [change(part) if isinstance(part, InputFile) else part for part in item.content]
            return structs.replace(item, content=content)
        case FunctionCallOutput() | CustomToolCallOutput() if not isinstance(item.output, str):
            output = [change(part) if isinstance(part, InputFile) else part for part in item.output]
            return structs.replace(item, output=output)
    return item
