from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from paper import PaperControl

import roomful
from roomful.auth import verify
from roomful.server.page import Page

pytestmark = pytest.mark.asyncio


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<title>roomful</title>")
    (page / "assets" / "app.js").write_text("1")
    (tmp_path / "secret.txt").write_text("no")
    monkeypatch.setattr(Page, "find", classmethod(lambda cls: cls(page)))


@pytest.mark.usefixtures("built")
async def test_browsers_get_the_page_and_health_checks_their_ok(control: PaperControl) -> None:
    async with roomful.Server({"development": True}) as server, httpx.AsyncClient() as client:
        base = f"http{server.url[2:]}"
        page = await client.get(base + "/?room=demo", headers={"accept": "text/html,*/*;q=0.8"})
        assert page.text == "<title>roomful</title>"
        assert page.headers["content-type"].startswith("text/html")
        assert (await client.get(base + "/")).text == "OK"
        script = await client.get(base + "/assets/app.js")
        assert (script.text, "javascript" in script.headers["content-type"]) == ("1", True)
        for outside in ("/../secret.txt", "/%2e%2e/secret.txt", "/assets/../../secret.txt", "/assets"):
            assert (await client.get(base + outside)).status_code == 404


@pytest.mark.usefixtures("built")
async def test_outside_development_there_is_neither_page_nor_token(control: PaperControl) -> None:
    async with roomful.Server() as server, httpx.AsyncClient() as client:
        base = f"http{server.url[2:]}"
        assert (await client.get(base + "/", headers={"accept": "text/html"})).text == "OK"
        assert (await client.get(base + "/dev/token?room=a&identity=b")).status_code == 404


async def test_the_page_asks_for_a_token(control: PaperControl) -> None:
    async with roomful.Server({"development": True}) as server, httpx.AsyncClient() as client:
        base = f"http{server.url[2:]}"
        answer = await client.get(
            base + "/dev/token", params={"room": "demo", "identity": "ada", "name": "Ada"}
        )
        assert answer.json()["url"] == server.url
        claims = verify(answer.json()["token"], server.keys)
        assert (claims.identity, claims.name) == ("ada", "Ada")
        assert (await client.get(base + "/dev/token?room=demo")).status_code == 400
