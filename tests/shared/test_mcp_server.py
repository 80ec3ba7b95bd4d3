"""What a server quotes of the secrets that it was sent is replaced; what is harmless stays."""

from __future__ import annotations

import pytest

from shared.mcp_secrets import HIDDEN
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
