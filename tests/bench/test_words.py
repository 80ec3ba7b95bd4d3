"""The random models' vocabulary: words are one token each, and JSON's pieces are tokens as in real vocabularies."""

from __future__ import annotations

from pathlib import Path

from bench import models, ticket
from bench.words import JSON_MARKS, JSON_WORDS, SPACE, Writer
from shared.settings import Settings
from workers.engine.model import load_model

TINY = models.Shape("random-tiny", width=64, layers=1, heads=1, kv_heads=1, hidden=64)


def test_words_and_the_pieces_of_json_are_one_token_each(tmp_path: Path) -> None:
    model = load_model(models.ensure(TINY, tmp_path), Settings())
    try:
        assert len(model.tokenize(Writer(1).text(2000))) == 2000
        for text in (*(mark.replace(" ", "").replace(SPACE, " ") for mark in JSON_MARKS), *JSON_WORDS):
            assert len(model.tokenize(text)) == 1, text
    finally:
        model.free()


def test_a_ticket_is_known_by_its_schema() -> None:
    named = str(ticket.schema())
    for word in ("title", "summary", "category", "priority", "tags", "people", "answer", "resolved", "role"):
        assert word in JSON_WORDS
        assert f"'{word}'" in named
    assert not ticket.valid('{"title": "too short"}')
