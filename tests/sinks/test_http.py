"""Questions over HTTP, to a server on loopback: what is an answer, what is asked again, and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from sinks.http import LONGEST, Questions
from streams.decision import Intent
from streams.effect import Passing, Refused

QUESTION = Intent("check", {"text": "Hé", "media_ids": ["m1"], "title": None})


class Somebody:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        """Say nothing yet."""
        self.asked: list[tuple[str, Any]] = []
        self.answer: Callable[[], web.Response] = lambda: web.json_response({"flags": []})
        self.speaks = asyncio.Event()
        self.speaks.set()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Answer."""
        self.asked.append((request.headers["Idempotency-Key"], await request.json()))
        await self.speaks.wait()
        return self.answer()


@pytest_asyncio.fixture
async def somebody() -> AsyncIterator[Somebody]:
    """A server of their own."""
    one = Somebody()
    app = web.Application()
    app.router.add_post("/ask", one.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/ask"
    yield one
    one.speaks.set()
    await runner.cleanup()


@pytest_asyncio.fixture
async def questions(somebody: Somebody) -> AsyncIterator[Questions]:
    """Asked of them."""
    adapter = Questions(somebody.url, wait=5)
    yield adapter
    await adapter.close()


@pytest.mark.req("SR097")
async def test_an_answer_is_the_object_that_comes_back(somebody: Somebody, questions: Questions) -> None:
    somebody.answer = lambda: web.json_response({"flags": ["spam"]}, status=201)

    assert await questions.perform(QUESTION, "k1") == {"flags": ["spam"]}
    assert somebody.asked == [("k1", QUESTION.data)]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_who_cannot_answer_now_is_asked_again(somebody: Somebody, questions: Questions, status: int) -> None:
    somebody.answer = lambda: web.Response(status=status)

    with pytest.raises(Passing, match=str(status)):
        await questions.perform(QUESTION, "k1")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: web.Response(status=400, text="no"), "400"),
        (lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "302"),
        (lambda: web.Response(text="no json"), "no JSON object"),
        (lambda: web.Response(body=b"\xff\xfe"), "no JSON object"),
        (lambda: web.json_response(["spam"]), "no JSON object"),
        (lambda: web.json_response({"flags": "x" * LONGEST}), "longer"),
    ],
    ids=["400", "redirect", "text", "bytes", "list", "too long"],
)
async def test_what_is_no_answer_is_a_refusal(
    somebody: Somebody, questions: Questions, answer: Callable[[], web.Response], words: str
) -> None:
    somebody.answer = answer

    with pytest.raises(Refused, match=words):
        await questions.perform(QUESTION, "k1")


async def test_silence_and_nobody_are_passing(somebody: Somebody) -> None:
    somebody.speaks.clear()
    for url in (somebody.url, "http://127.0.0.1:1/ask"):
        adapter = Questions(url, wait=0.2)
        with pytest.raises(Passing, match="No answer"):
            await adapter.perform(QUESTION, "k1")
        await adapter.close()


async def test_who_was_never_asked_is_left_in_peace() -> None:
    await Questions("http://127.0.0.1:1/ask").close()
