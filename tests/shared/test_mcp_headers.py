"""What is sent to an MCP server in headers."""

from __future__ import annotations

import pytest

from shared.mcp_headers import HeaderRefused, request_headers


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("abc.def", "Bearer abc.def"),
        ("Bearer abc", "Bearer abc"),
        ("bearer abc", "bearer abc"),
        ("Basic dXNlcg==", "Basic dXNlcg=="),
        (" abc ", "Bearer abc"),
    ],
)
def test_a_token_is_sent_as_bearer_unless_it_has_a_scheme(given: str, sent: str) -> None:
    assert request_headers(given, {}) == {"authorization": sent}


def test_headers_are_merged() -> None:
    assert request_headers("t", {"X-A": "1", "AUTHORIZATION": "Basic x"}) == {"x-a": "1", "authorization": "Bearer t"}
    assert request_headers(None, {"Authorization": "Basic x"}) == {"authorization": "Basic x"}
    assert request_headers("", {}) == {}


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "Upgrade", "TE", "Proxy-Authorization", "Expect",
     "Mcp-Session-Id", "Content-Type", "Accept", "a b", "a:b", "", "a\r\nb", "é", ":authority"],
)  # fmt: skip
def test_headers_that_would_break_http_are_refused(name: str) -> None:
    with pytest.raises(HeaderRefused):
        request_headers(None, {name: "x"})


@pytest.mark.parametrize("value", ["a\r\nHost: b", "a\nb", "a\x00b", "é", "x" * 9000])
def test_values_that_would_break_http_are_refused_and_not_shown(value: str) -> None:
    for authorization, headers in ((value, {}), (None, {"X-Key": value})):
        with pytest.raises(HeaderRefused) as refused:
            request_headers(authorization, headers)
        assert value not in str(refused.value)


@pytest.mark.parametrize("authorization", [" ", "\t", "  \t "])
def test_an_authorization_that_is_empty_is_refused(authorization: str) -> None:
    with pytest.raises(HeaderRefused, match="empty"):
        request_headers(authorization, {})


def test_the_same_header_twice() -> None:
    with pytest.raises(HeaderRefused, match="twice"):
        request_headers(None, {"X-A": "1", "x-a": "2"})
