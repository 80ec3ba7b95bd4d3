"""`.env.example` is the documentation of the settings, so it must be true."""

from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

from shared.settings import REPOSITORY_MODELS, Settings

CHECKOUT = Path(__file__).resolve().parents[2]


def assignments() -> dict[str, tuple[str, str]]:
    """NAME -> (value, the line before it)."""
    found = {}
    lines = (CHECKOUT / ".env.example").read_text().splitlines()
    for before, line in pairwise(lines):
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            assert name not in found, f"{name} is there twice"
            found[name] = (value, before)
    return found


def test_it_lists_exactly_the_settings_in_their_order() -> None:
    assert list(assignments()) == [field.name.upper() for field in fields(Settings)]


def test_its_values_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {name: value for name, (value, _) in assignments().items()}
    monkeypatch.chdir(CHECKOUT)
    settings = Settings.from_environment(values)
    assert settings.models_dir.resolve() == REPOSITORY_MODELS
    defaults = Settings()
    for field in fields(Settings):
        if field.name != "models_dir":
            assert getattr(settings, field.name) == getattr(defaults, field.name), field.name


def test_every_setting_is_explained() -> None:
    explained_together = {"PORT", "TOP_P", "MIN_P"} | {"MAX_METADATA_KEY_LENGTH", "MAX_METADATA_VALUE_LENGTH"}
    for name, (_, before) in assignments().items():  # those: with the setting before them
        assert before.startswith("# ") or name in explained_together, name
