"""A real browser for the tests of pages; they are skipped where there is none, and fail in CI."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# What the sandbox of Chromium cannot be for root.
ARGUMENTS = ["--no-sandbox"] if os.geteuid() == 0 else []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium, for no longer than its tests: as long as it is there an event loop seems to run here."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"a browser must be there: one of {', '.join(NAMES)}")
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """One page in a browser of its own, with what it said to the console and asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.console: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def shown(self) -> list[str]:
        """Return the run ids that can be seen, in order."""
        return [run.text_content() or "" for run in self.page.locator(".run:visible > summary .what > b").all()]


Visiting = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Visiting]:
    """Return a function that opens a page, with options of a browser's context."""
    contexts = []

    def open_page(text: str, anchor: str = "", **options: Any) -> Visit:
        file = tmp_path / "page.html"
        file.write_text(text, encoding="utf-8")
        contexts.append(browser.new_context(**options))
        visited = Visit(contexts[-1].new_page())
        visited.page.goto(f"{file.as_uri()}{anchor}")
        return visited

    yield open_page
    for context in contexts:
        context.close()
