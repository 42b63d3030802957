"""A real browser loads a page of sixty objects through the proxy."""
import shutil

from runner import OutOfBounds, Skip, seconds


@seconds(120)
def test_sixty_objects(w):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise Skip("no Chromium is installed")
    pair = w.pair()
    for proxy in ("socks5://127.0.0.1:1080", "http://127.0.0.1:1080"):
        result = w.run(w.app, [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--proxy-server={proxy}",
            f"--user-data-dir={w.folder}/{proxy[:4]}", "--virtual-time-budget=20000", "--dump-dom", "http://origin.test/page/60"],
            timeout=55)
        # On a busy machine the browser sometimes writes the page before it is complete: another try.
        if b"60 loaded" not in result.stdout:
            raise OutOfBounds(f"{proxy}: {result.stdout[-300:]} {result.stderr[-500:]}")
    pair.alive()
