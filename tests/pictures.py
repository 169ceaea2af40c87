"""`make pictures`: the pictures of the README, taken anew from the demo's sample conversations."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.conftest import free_port_base

FOLDER = Path("docs/pictures")
SIZE = {"width": 960, "height": 640}  # pixels: small enough to be read beside text
PHONE = {"width": 390, "height": 640}
TOGETHER = 300_000  # bytes
STARTED = 300  # seconds in which the demo runs and has its conversations
READY = "Stoppen: Ctrl-C"


async def demo(folder: Path) -> tuple[asyncio.subprocess.Process, str]:
    """A demo with its conversations in the archive, and the address of its pages."""
    command = [sys.executable, "-m", "archiver.cli", "demo", "--data-dir", str(folder), "--port-base", str(free_port_base())]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    web = ""
    async with asyncio.timeout(STARTED):
        async for line in process.stderr:
            told = line.decode().strip()
            web = told if told.startswith("http://") and not web else web
            if told.startswith(READY):
                return process, web
    raise SystemExit("The demo did not start.")


async def signed_in(browser: Browser, web: str, person: str) -> Page:
    """A page of somebody of the demo, who has said why they read."""
    context = await browser.new_context(base_url=web, viewport=SIZE, reduced_motion="reduce")
    page = await context.new_page()
    await page.goto("/search")
    await page.locator("main a.utrecht-button").first.click()
    await page.locator(f"form:has(input[name=person][value='{person}']) button").first.click()
    await page.wait_for_url(f"{web}/**")
    if await page.locator("#purpose").count():
        await page.locator("#purpose").select_option(index=1)
        await page.locator("main form button").click()
        await page.wait_for_url("**/search*")
    return page


async def take(page: Page, path: str, name: str, to: str = "") -> None:
    """A picture of the page at an address, or of where a link in it leads."""
    await page.goto(path)
    if to:
        await page.get_by_role("link", name=to).first.click()
        await page.locator(".message").first.scroll_into_view_if_needed()
        await page.locator(".message").first.evaluate("each => each.scrollIntoView({block: 'center'})")
    await page.screenshot(path=f"{FOLDER}/{name}.png")


async def pictures() -> None:
    """Start a demo, take them, and stop it."""
    folder = Path(tempfile.mkdtemp(prefix="griffier-pictures-"))
    process, web = await demo(folder)
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            reader = await signed_in(browser, web, "archivaris")
            await take(reader, "/", "gesprekken")
            await take(reader, "/", "gesprek", to="Hatice")
            await take(reader, "/search?q=planning", "zoeken")
            await reader.emulate_media(color_scheme="dark")
            await reader.set_viewport_size(PHONE)
            await take(reader, "/", "donker", to="Hatice")
            await browser.close()
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    asyncio.run(pictures())
    sizes = {file.name: file.stat().st_size for file in FOLDER.glob("*.png")}
    print(sizes)
    if sum(sizes.values()) > TOGETHER:
        raise SystemExit(f"The pictures are {sum(sizes.values()):,} bytes together: more than {TOGETHER:,}.")


if __name__ == "__main__":
    main()
