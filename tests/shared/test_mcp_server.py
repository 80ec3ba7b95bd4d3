"""What a server quotes of the secrets that it was sent is replaced; what is harmless stays."""

from __future__ import annotations

import json

import msgspec
import pytest

from shared import mcp_secrets, mcp_server
from shared.mcp_secrets import HIDDEN, LOOKED_INTO, MOST
from shared.mcp_server import Server

SECRET = "9f8e7d6c5b4a39281706"


def server(query: str = "", path: str = "mcp", authorization: str | None = None, **headers: str) -> Server:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Server(label="a", url=f"https://h.example/{path}{query}", authorization=authorization, headers=named)


@pytest.mark.parametrize(
    ("given", "secret"),
    [
        (server(X_Api="sk-live-1234567890abcdef"), "sk-live-1234567890abcdef"),
        (server(X_Workspace=SECRET), SECRET),
        (server(X_Pin="hunter2-hunter2"), "hunter2-hunter2"),
        (server(X_Pin="swordfish"), "swordfish"),
        (server(X_Tenant="qkzjvbwplmnrtyux"), "qkzjvbwplmnrtyux"),
        (server(X_Customer="4711-0815"), "4711-0815"),
        (server(X_Customer="123456"), "123456"),
        (server(X_Any="Bearer abc123def"), "abc123def"),
        (server(X_Any="user=jane; id=abc123def"), "abc123def"),
        (server(X_Any=f"Basic {'YWxhZGRpbjpvcGVu'}=="), "YWxhZGRpbjpvcGVu=="),
        (server(Cookie="theme=dark; sid=swordfish"), "swordfish"),
        (server(X_Token="swordfish"), "swordfish"),
        (server(authorization="swordfish"), "swordfish"),
        (server(authorization="Basic dXNlcjpodW50ZXIy"), "dXNlcjpodW50ZXIy"),
        (server("?k=ab%2Fcd%2Fef12345"), "ab/cd/ef12345"),
        (server("?k=ab%2Fcd%2Fef12345"), "ab%2Fcd%2Fef12345"),
        (server("?k=ab%2fcd%2fef12345"), "ab%2fcd%2fef12345"),
        (server("?k=ab/cd/ef12345"), "ab%2Fcd%2Fef12345"),
        (server("?k=one+two+3three"), "one two 3three"),
        (server("?k=one%20two%203three"), "one+two+3three"),
        (server("?tenant=short1"), "short1"),
        (server("?apikey=swordfish"), "swordfish"),
        (server("?a=1&b=2"), "https://h.example/mcp?a=1&b=2"),
        (server("?a=1&b=2"), "a=1&b=2"),
        (server(path=f"v1/{SECRET}/mcp"), SECRET),
        (server(path="v1/9f8e7d6c5b4a3928%2B%2F/mcp"), "9f8e7d6c5b4a3928+/"),
    ],
)
def test_a_secret_is_replaced_wherever_it_is_quoted(given: Server, secret: str) -> None:
    assert secret not in given.hide(f"You sent {secret}.")
    assert HIDDEN in given.hide(f"You sent {secret}.")
    within = {"description": f"of {secret}", "enum": [secret, 1, None], "properties": {"a": {"const": f"<{secret}>"}}}
    assert secret not in str(given.hide_within(within))


@pytest.mark.parametrize(
    "given",
    [
        server(X_Region="europe", X_Team="Support", X_Mode="READONLY"),
        server(Accept="application/json, text/event-stream;q=0.9, */*;q=0.1"),
        server(Content_Type="application/json; charset=utf-8", X_Kind="application/vnd.api+json"),
        server(Accept_Language="en-US,en;q=0.9"),
        server(X_Version="2024-01-01", X_Since="2024-01-01T10:20:30Z", X_Api_Version="v1.2.3"),
        server(
            X_MCP_Toolsets="repos,pull_requests", X_Zone="us-east-1", Origin="https://tools.example", X_User="jo@ex.am"
        ),
        server("?tools=pull_requests,code-search"),
        server(X_Debug="true", X_Level="12", X_Short="a1b2c"),
        server("?mode=readonly&version=2024-01-01&page=12", path="tickets/v1/mcp"),
    ],
)
def test_what_is_harmless_stays(given: Server) -> None:
    text = (
        "true europe Support READONLY application/json text/event-stream utf-8 en-US charset tickets readonly version "
        "pull_requests us-east-1 https://tools.example jo@ex.am code-search "
        "application/vnd.api+json 2024-01-01 2024-01-01T10:20:30Z v1.2.3 12 a1b2c mcp Bearer session"
    )
    assert given.hide(text) == text


def test_words_beside_a_secret_stay() -> None:
    given = server(authorization="Bearer abc123def", Cookie="session=abc123; theme=light")
    text = "The bearer of a session: Bearer, theme, session"
    assert given.hide(text) == text


@pytest.mark.parametrize(
    "secret", ['{"key":"abc123def456"}', 'ab\\cd"12345678', "ab/cd/12345678", "a=1&b=<12345678>", "ab\tcd12345678"]
)
def test_a_secret_in_json_is_replaced(secret: str) -> None:
    """Also in the names of fields, and however the server writes it: PHP escapes slashes, Go what HTML has."""
    given = server(X_Auth=secret)
    for value in ({"got": f"<{secret}>"}, {secret: 1}):
        plain = json.dumps(value)
        php = plain.replace("/", "\\/")
        go = plain.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        for written in (plain, msgspec.json.encode(value).decode(), php, go):
            assert HIDDEN in given.hide(written)
            assert "12345678" not in given.hide(written)
            assert "abc123" not in given.hide(written)


def test_a_secret_beyond_ascii_is_replaced_in_json() -> None:
    assert "12345678" not in server("?k=%C3%A912345678").hide(json.dumps({"got": "é12345678"}))
    assert "12345678" not in server(path="1234567812345678%22/mcp").hide(json.dumps('1234567812345678"'))


def test_what_was_replaced_is_not_found_again() -> None:
    given = server(X_Key="redacted", X_Token="swordfish")
    assert given.hide("a swordfish, redacted") == f"a {HIDDEN}, {HIDDEN}"


def test_secrets_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    find = mcp_server.secrets_of
    monkeypatch.setattr(mcp_server, "secrets_of", lambda url, *rest: (found.append(url), find(url, *rest))[1])
    given = server(X_Api="sk-live-1234567890abcdef")
    assert [given.hide("sk-live-1234567890abcdef") for _ in range(3)] == [HIDDEN] * 3
    assert given.hide_within(["sk-live-1234567890abcdef", "a"]) == [HIDDEN, "a"]
    assert found == [given.url]
    assert msgspec.json.decode(msgspec.json.encode(given), type=Server) == given  # and stay where they are


def test_only_so_much_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is long is then replaced as a whole, and by what stands behind a scheme; what is short is looked into."""
    looked: list[str] = []
    find = mcp_secrets._secrets_in
    monkeypatch.setattr(mcp_secrets, "_secrets_in", lambda name, value: (looked.append(value), find(name, value))[1])
    long = {f"X-{i}": " ".join(f"a9{i}{j:03}xQ" for j in range(700)) for i in range(64)}
    token = "z9" * 4000
    quoting = '"' + "y8" * 4000
    given = Server(
        label="a",
        url="https://h.example/mcp",
        authorization=f"Bearer {token}",
        headers={**long, "X-Quoting": quoting, "X-Team": "Support", "X-Key": "user=jane; id=abc123def"},
    )
    assert len(given.secrets) <= MOST
    assert 0 < sum(map(len, looked)) <= LOOKED_INTO
    for value in (*long.values(), f"Bearer {token}", token, "abc123def"):
        assert given.hide(f"You sent {value}.") == f"You sent {HIDDEN}."
    assert given.hide(json.dumps(quoting)) == f'"{HIDDEN}"'
    assert given.hide("Support") == "Support"
