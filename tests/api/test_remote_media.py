"""Images and files at http(s) addresses: fetched where the operator allows it, and from nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared.names import NamesBusy
from tests.api.test_images import image, text, user
from tests.conftest import StackFactory
from tests.pictures import picture
from tests.stack import Stack
from workers.engine.scripted import ScriptedEngine

Handler = Callable[[web.Request], Any]


class Site:
    """A server on 127.0.0.1 and another on 127.0.0.2, which nobody may reach."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.asked: list[tuple[str, str]] = []  # the Host and path of every request
        self.headers: list[dict[str, str]] = []
        self.url = self.private_url = ""

    def file(self, path: str, data: bytes, **options: Any) -> str:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=data, **options)

        self.handlers[path] = answer
        return self.url + path

    def redirect(self, path: str, target: str) -> str:
        return self.file(path, b"", status=302, headers={"Location": target})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.host, request.path))
        self.headers.append(dict(request.headers))
        answer: web.StreamResponse = await self.handlers[request.path](request)
        return answer


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    for host in ("127.0.0.1", "127.0.0.2"):
        await web.TCPSite(runner, host, 0).start()
    (_, port), (_, private_port) = runner.addresses
    site.url, site.private_url = f"http://127.0.0.1:{port}", f"http://127.0.0.2:{private_port}"
    yield site
    await runner.cleanup()


@pytest.fixture
async def open_stack(make_stack: StackFactory, sighted_models: Path) -> Stack:
    return await make_stack(
        loader=lambda *_: ScriptedEngine(vision=True),
        models_dir=sighted_models,
        allow_remote_media=True,
        private_networks=("127.0.0.1/32",),
        max_file_bytes=20_000,
        remote_media_seconds=60.0,
    )


async def refusal(stack: Stack, url: str) -> tuple[str, str, str]:
    status, body = await stack.post(input=[user(image(url))])
    assert status == 400, body
    return body["error"]["code"], body["error"]["param"], body["error"]["message"]


async def test_an_image_is_fetched_once_and_kept_with_the_response(open_stack: Stack, site: Site) -> None:
    url = site.file("/x.png", picture(40, 30), headers={"Set-Cookie": "a=b"})
    status, first = await open_stack.post(input=[user(text("See "), image(url + "#part"))])
    assert status == 200, first
    [cells] = open_stack.engine.requests[-1].images
    assert (cells.picture.width, cells.picture.height) == (40, 30)
    del site.handlers["/x.png"]
    status, _ = await open_stack.post(input="And?", previous_response_id=first["id"])
    assert status == 200
    assert len(open_stack.engine.requests[-1].images) == 1
    assert len(site.asked) == 1
    assert site.asked[0][1] == "/x.png"
    assert not {"Authorization", "Cookie", "Referer"} & set(site.headers[0])
    _, items = await open_stack.get(f"/v1/responses/{first['id']}/input_items")
    assert items["data"][0]["content"][1]["image_url"] == url + "#part"


async def test_a_file_is_fetched_and_named_by_its_url(open_stack: Stack, site: Site) -> None:
    url = site.file("/docs/read%20me.txt", b"from afar")
    site.handlers["/docs/read me.txt"] = site.handlers["/docs/read%20me.txt"]
    status, _ = await open_stack.post(input=[user({"type": "input_file", "file_url": url})])
    assert status == 200
    prompt = open_stack.engine.text(open_stack.engine.requests[-1].tokens)
    assert "File: read me.txt (text)\n```\nfrom afar\n```" in prompt


async def test_redirects_are_followed_and_each_is_checked(open_stack: Stack, site: Site) -> None:
    target = site.file("/x.png", picture(40, 30))
    assert (await open_stack.post(input=[user(image(site.redirect("/moved", "/x.png")))]))[0] == 200
    assert target.endswith(site.asked[-1][1])
    site.file("/secret", b"secret")
    for elsewhere in (
        f"{site.private_url}/secret",
        "http://[::1]/secret",
        "http://localhost.:80/",
        "http://2130706434/secret",
        "file:///etc/passwd",
        "//169.254.169.254/latest/meta-data",
    ):
        before = len(site.asked)
        code, param, message = await refusal(open_stack, site.redirect("/away", elsewhere))
        assert (code, param) == ("invalid_image_url", "input[0].content[0].image_url")
        assert "refused" in message
        assert [path for _, path in site.asked[before:]] == ["/away"]


async def test_redirects_come_to_an_end(open_stack: Stack, site: Site) -> None:
    code, _, message = await refusal(open_stack, site.redirect("/round", "/round"))
    assert (code, len(site.asked)) == ("failed_to_download_image", 4)
    assert "redirects more than 3 times" in message


async def test_private_addresses_are_refused(open_stack: Stack, site: Site) -> None:
    for url in (
        f"{site.private_url}/x.png",
        "http://169.254.169.254/latest",
        "http://user:pass@127.0.0.1/",
        "ftp://x/",
    ):
        assert (await refusal(open_stack, url))[0] == "invalid_image_url"
    assert site.asked == []


async def test_answers_that_are_no_use_are_refused(open_stack: Stack, site: Site) -> None:
    assert "status 404" in (await refusal(open_stack, site.file("/none", b"", status=404)))[2]
    assert "20000 bytes" in (await refusal(open_stack, site.file("/large", b"x" * 20_001)))[2]
    assert "compressed" in (await refusal(open_stack, site.file("/z", b"x", headers={"Content-Encoding": "br"})))[2]
    assert (await refusal(open_stack, site.file("/text", b"hello")))[0] == "unsupported_image_media_type"

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"x" * 5000)
        except ConnectionError:
            return answer

    site.handlers["/endless"] = endless
    assert "20000 bytes" in (await refusal(open_stack, site.url + "/endless"))[2]


async def test_a_slow_host_is_given_up(make_stack: StackFactory, site: Site, sighted_models: Path) -> None:
    stack = await make_stack(
        loader=lambda *_: ScriptedEngine(vision=True), models_dir=sighted_models, allow_remote_media=True,
        private_networks=("127.0.0.1/32",), remote_media_seconds=0.2,
    )  # fmt: skip
    release = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    site.handlers["/slow"] = slow
    assert "within 0.2 s" in (await refusal(stack, site.url + "/slow"))[2]
    release.set()


async def test_a_name_cannot_change_its_address_between_check_and_connection(
    open_stack: Stack, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that would give a private address the second time is asked only once."""
    asked: list[str] = []
    url = site.file("/x.png", picture(40, 30))

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    creation = next(value for value in open_stack.fronts[0].app.values() if hasattr(value, "_media"))
    monkeypatch.setattr(creation._media._guard, "_resolve", resolve)
    port = url.split(":")[2].split("/")[0]
    status, body = await open_stack.post(input=[user(image(f"http://rebind.example:{port}/x.png"))])
    assert status == 200, body
    assert asked == ["rebind.example"]
    assert site.asked == [(f"rebind.example:{port}", "/x.png")]  # the name is still told


async def test_too_many_names_at_once_are_no_fault_of_the_address(
    open_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise NamesBusy

    creation = next(value for value in open_stack.fronts[0].app.values() if hasattr(value, "_media"))
    monkeypatch.setattr(creation._media._guard, "_resolve", resolve)
    status, body = await open_stack.post(input=[user(image("http://busy.example/x.png"))])
    assert (status, body["error"]["code"]) == (503, "service_unavailable")
    assert "too many names are looked up here at the moment" in body["error"]["message"]
