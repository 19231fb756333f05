"""A headless Chromium that tests look through, by its DevTools protocol."""

import asyncio
import contextlib
import itertools
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_MEASURE = """
(() => {
  const boxes = [...document.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect());
  return {
    width: innerWidth, content: document.documentElement.scrollWidth,
    background: getComputedStyle(document.body).backgroundColor,
    drawn: boxes.filter(box => box.width > 100 && box.height > 80).length, charts: boxes.length,
  };
})()
"""


@dataclass
class Look:
    """What a page looked like."""

    measured: dict[str, Any] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)  # of the console
    requests: list[str] = field(default_factory=list)  # of addresses other than the page's
    violations: list[str] = field(default_factory=list)  # that axe found


def look_at(page: Path, folder: Path, *, width: int, dark: bool, axe: str = "") -> Look:
    """Open a file as wide as asked for; `axe` is the source of axe-core."""
    with _browser(folder) as port:
        return asyncio.run(_look(port, page, width, dark, axe))


@contextlib.contextmanager
def _browser(folder: Path) -> Iterator[int]:
    assert BROWSER is not None
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={folder}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        told = folder / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not (told.exists() and told.read_text().strip()):
            assert time.monotonic() < end, "the browser does not start"
            time.sleep(0.1)
        yield int(told.read_text().split()[0])
    finally:
        process.terminate()
        process.wait()


async def _look(port: int, page: Path, width: int, dark: bool, axe: str) -> Look:
    seen = Look()
    async with aiohttp.ClientSession() as session:
        async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer:
            address = (await answer.json(content_type=None))["webSocketDebuggerUrl"]
        async with session.ws_connect(address, max_msg_size=0) as socket:
            number = itertools.count(1)
            loaded = asyncio.Event()
            answers: dict[int, asyncio.Future[Any]] = {}

            async def listen() -> None:
                async for message in socket:
                    event = message.json()
                    if "id" in event:
                        answers.pop(event["id"]).set_result(event)
                    elif event["method"] == "Page.loadEventFired":
                        loaded.set()
                    elif event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                        seen.complaints.append(str(event["params"]))
                    elif event["method"] == "Network.requestWillBeSent":
                        url = event["params"]["request"]["url"]
                        if url != page.as_uri() and not url.startswith("data:"):
                            seen.requests.append(url)

            async def ask(method: str, **parameters: Any) -> Any:
                own = next(number)
                answers[own] = asyncio.get_running_loop().create_future()
                await socket.send_json({"id": own, "method": method, "params": parameters})
                event = await asyncio.wait_for(answers[own], 60)
                assert "error" not in event, event
                return event["result"]

            async def value_of(expression: str) -> Any:
                result = await ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
                assert "exceptionDetails" not in result, result["exceptionDetails"]
                return result["result"].get("value")

            listening = asyncio.create_task(listen())
            for domain in ("Page", "Runtime", "Log", "Network"):
                await ask(f"{domain}.enable")
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
            await ask("Emulation.setDeviceMetricsOverride", **size)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            await ask("Emulation.setEmulatedMedia", features=[scheme])
            await ask("Page.navigate", url=page.as_uri())
            await asyncio.wait_for(loaded.wait(), 60)
            seen.measured = await value_of(_MEASURE)
            if axe:
                await value_of(axe + "; 0")
                found = await value_of("axe.run().then(result => result.violations.map(v => v.id + ': ' + v.help))")
                seen.violations = list(found)
            listening.cancel()
    return seen
