"""`llamarelay ls`: the models on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.options import settings_with

if TYPE_CHECKING:  # the catalog and rich are imported when the command runs: `--help` stays quick
    from rich.table import Table

    from shared.catalog import Header, Model, Variant


@click.command(short_help="List the models on this machine.")
@click.argument("model", required=False)
@click.option("--variants", is_flag=True, help="One line for every variant of every model, or of MODEL.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array for scripts, with sizes in bytes.")
@click.option("--models-dir", type=click.Path(path_type=Path), help="Where the GGUF files are.  [MODELS_DIR]")
def ls(model: str | None, variants: bool, as_json: bool, models_dir: Path | None) -> None:
    """List the models in MODELS_DIR, LM Studio's folder and the Hugging Face cache.

    `model` in a request may be a key (then the default variant is used) or a variant such as google/gemma-3-12b@q3_k_l.
    Broken files are listed with the reason.
    """
    from shared.catalog import Catalog

    settings = settings_with(models_dir=models_dir)
    models = _chosen(Catalog(settings.models_dir).scan(), model)
    every_variant = [variant for each in models for variant in each.variants]
    if as_json:
        rows = [_variant_json(each) for each in every_variant] if variants else [_model_json(each) for each in models]
        _print_json(rows)
    elif not models:
        click.echo(f"No models found: put a GGUF file at {settings.models_dir}/PUBLISHER/MODEL/FILE.gguf", err=True)
    else:
        _print_table(_variants_table(every_variant) if variants else _models_table(models))
        if not variants:
            _print_broken(every_variant)


def _chosen(models: tuple[Model, ...], name: str | None) -> tuple[Model, ...]:
    """The models called `name`, with or without publisher and variant; all without a name. Raises ClickException."""
    if name is None:
        return models
    wanted = name.casefold()
    for candidate in (wanted, wanted.rpartition("@")[0]):
        for attribute in ("key", "name"):
            if found := tuple(model for model in models if getattr(model, attribute).casefold() == candidate):
                return found
    available = ", ".join(model.key for model in models) or "none"
    raise click.ClickException(f"no model is called {name!r}; available: {available}")


def _model_json(model: Model) -> dict[str, Any]:
    default = model.default
    return {
        "key": model.key,
        "default_variant": default.id if default else None,
        "quantization": default.quantization if default else None,
        **_header_json(default.header if default else None),
        "size_bytes": default.size_bytes if default else None,
        "source": model.variants[0].source,
        "projector": _text(model.projector) if model.projector else None,
        "variants": [variant.id for variant in model.variants],
        "broken": None if default else model.variants[0].broken,
    }


def _variant_json(variant: Variant) -> dict[str, Any]:
    return {
        "id": variant.id,
        "model": variant.model,
        "quantization": variant.quantization,
        **_header_json(variant.header),
        "size_bytes": variant.size_bytes,
        "source": variant.source,
        "paths": [_text(path) for path in variant.paths],
        "parts": variant.part_count,
        "broken": variant.broken,
    }


def _header_json(header: Header | None) -> dict[str, Any]:
    """What the file says about the model; null where it says nothing or cannot be read."""
    from shared.catalog import parameters_label

    return {
        "name": header.name if header else None,
        "architecture": header.architecture if header else None,
        "parameters": header.parameters if header else None,
        "parameters_label": parameters_label(header.parameters) if header else None,
        "context_length": header.context_length if header else None,
        "embedding_length": header.embedding_length if header else None,
        "layers": header.layers if header else None,
        "vocabulary": header.vocabulary if header else None,
        "license": header.license if header else None,
        "has_chat_template": header.chat_template is not None if header else None,
    }


def _print_json(rows: list[dict[str, Any]]) -> None:
    import json

    click.echo(json.dumps(rows, indent=2))


def _models_table(models: Iterable[Model]) -> Table:
    table = _table("Model", "Default", "Params", "Arch", "Context", "Size")
    for model in models:
        default = model.default
        label = default.label if default else "broken"
        table.add_row(*map(_cell, (model.key, label, *_facts(default), _size(default) if default else "")))
    return table


def _variants_table(variants: Iterable[Variant]) -> Table:
    table = _table("Variant", "Params", "Arch", "Context", "Quantization", "Size", "Path")
    for variant in variants:
        where = f"broken: {variant.broken} ({_text(variant.path)})" if variant.broken else _text(variant.path)
        if variant.part_count > 1 and not variant.broken:
            where += f" and {variant.part_count - 1} more"
        row = (variant.id, *_facts(variant), variant.quantization, _size(variant), where)
        table.add_row(*map(_cell, row), style="red" if variant.broken else None)
    return table


def _facts(variant: Variant | None) -> tuple[str, str, str]:
    """Parameters, architecture and context for a table."""
    header = variant.header if variant else None
    if variant is None or header is None:
        return "", "", ""
    context = f"{header.context_length:,}" if header.context_length else ""
    return variant.parameters_label or "", header.architecture or "", context


def _print_broken(variants: Iterable[Variant]) -> None:
    for variant in variants:
        if variant.broken:
            click.echo(f"broken: {variant.id}: {variant.broken} ({_text(variant.path)})")


def _size(variant: Variant) -> str:
    from rich.filesize import decimal

    return decimal(variant.size_bytes)


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in ("Params", "Context", "Size")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "Path", overflow="fold")
    return table


def _print_table(table: Table) -> None:
    """In a pipe a line is never broken or cut, so that `llamarelay ls | grep` works."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    wide = Console(width=10_000)
    with wide.capture() as capture:
        wide.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def _cell(text: str) -> Any:
    """`text` as it is: names of files are no markup."""
    from rich.text import Text

    return Text(text)


def _text(path: Path) -> str:
    from shared.catalog import printable

    return printable(str(path))
