"""The live page in a real browser: every part with live data, a loss seen as it happens, and what another site can't do."""
import json
import re
import threading
import time

from browser import Browser
from runner import OutOfBounds, check, seconds
from world import ORIGIN, sh

PAGE = "http://127.0.0.1:9090"


# What stands beyond the right edge of its card.
OUTSIDE = """[...document.querySelectorAll('main section *')].filter(e => !e.closest('.visually-hidden') && e.getBoundingClientRect().width > 1
    && e.getBoundingClientRect().right > e.closest('section').getBoundingClientRect().right + 0.5).map(e => e.innerText).join('|')"""


def ask(w, space, *arguments):
    """curl in a namespace: the status and the body."""
    result = w.run(space, ["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", *arguments], text=True)
    body, _, code = result.stdout.rpartition("\n")
    return int(code or 0), body


class Lateness(threading.Thread):
    """How late a process that sleeps is woken at worst, while this runs: nobody measures better here."""
    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.isOver = 0, False
        self.start()

    def run(self):
        while not self.isOver:
            before = time.monotonic()
            time.sleep(0.005)
            self.most = max(self.most, time.monotonic() - before - 0.005)

    def milliseconds(self):
        self.isOver = True
        return self.most * 1000


def first_events(w, space, address):
    """What a page is told at first: the names of the events, and their data."""
    result = w.run(space, ["curl", "-sN", "--max-time", "2.5", f"{address}/events"], text=True)
    events = re.findall(r"event: (\w+)\ndata: (.*)\n", result.stdout)
    return [(name, json.loads(data)) for name, data in events]


@seconds(150)
def test_the_page(w):
    with open("/run/hosts", "a") as file:
        file.write("127.0.0.1 rebound.test\n")
    pair = w.pair(proxy=f"status: {PAGE[7:]}\n", concentrator=(
        "egress: { deny: [] }\nstatus: { address: \"127.0.0.1:9091\", token: 0123456789abcdef, show_targets: true }\n"))
    w.limit(wifi=8, cell=2)
    browser = Browser(w, w.app)
    browser.open(PAGE)
    began = time.monotonic()
    client = w.start_client("download", 14_000_000)

    # Every part, with live data.
    browser.wait("/wifi.*↓ [0-9.]+ [kM]bit.s.*cell.*↓ [0-9.]+ [kM]bit.s/s.test(document.getElementById('legend').innerText)",
                 "the throughput of both uplinks")
    browser.wait("document.querySelectorAll('#down .area').length === 2 && document.querySelectorAll('#up .area').length === 2",
                 "both in both charts")
    rows = "[...document.querySelectorAll('#uplinks tbody tr')]"
    browser.wait(f"{rows}.filter(row => /in use.* ms/s.test(row.innerText)).length === 2", "two uplinks in use, with a round trip")
    browser.do("document.getElementById('connections').scrollIntoView()")
    browser.wait("/origin.test:80.*connection.*wifi.*cell/s.test(document.querySelector('#connections tbody').innerText)",
                 "the connection and its share by uplink")
    named = [one["name"]["value"] for one in browser.ask("Accessibility.getFullAXTree")["nodes"]
             if one.get("role", {}).get("value") == "rowheader"]
    check(named == ["wifi", "cell", "origin.test:80"], f"rows are named {named}")
    # A loss as it happens, in words.
    late, lost_at = Lateness(), time.monotonic() - began
    w.down("wifi")
    lost = r"wifi is gone; 1 connection went on over cell, longest pause (\d+) ms"
    pause = int(browser.wait(f"/{lost}/.exec(document.getElementById('log').innerText)?.[1]", "the loss of WiFi"))
    late = late.milliseconds()
    check("not there" in browser.text("#uplinks"), "the table shows WiFi as it was")
    w.up("wifi")
    browser.wait("/wifi carries again, after/.test(document.getElementById('log').innerText)", "the return of WiFi")
    result = client.result()
    gap = round(result["gap"] * 1000)
    w.notes.append(f"longest pause {pause} ms on the page, {gap} ms for the application; woken {late:.0f} ms late at most")
    # The download's longest gap may be another one: then the page's is shorter.
    isSame = -0.5 < result["gap_at"] - lost_at < 1.5
    if pause > gap + 10 + late or isSame and pause < gap - 10 - late:
        raise OutOfBounds(f"the page says {pause} ms, the application felt {gap} ms")

    # The mode, by keyboard, once it was said what that does.
    browser.do("document.querySelector('#modes input[value=full]').focus()")
    browser.key("ArrowRight", windowsVirtualKeyCode=39)
    browser.wait("document.getElementById('ask').open", "the question")
    browser.do("document.querySelector('#ask [value=no]').click()")
    browser.wait("!document.getElementById('ask').open && document.querySelector('#modes input[value=full]').checked", "no change")
    browser.do("document.querySelector('#modes input[value=single]').click()")
    browser.wait("/One uplink/.test(document.getElementById('ask-text').innerText)", "what single mode does")
    browser.do("document.querySelector('#ask .main').click()")
    browser.wait("document.querySelector('#modes input[value=single]').checked", "single mode")
    check(pair.status()["sessions"][0]["mode"] == "single", "the page says single, the proxy does not")
    check(not browser.problems, f"the console has {browser.problems}")
    check(all(url.startswith(PAGE) for url in browser.requests), f"others are asked: {browser.requests}")
    for width in (360, 740, 768, 1000, 1280, 1600):
        browser.size(width, 740)
        check(browser.do("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), f"the page is wider than {width} pixels")
        check(browser.do(OUTSIDE) == "", f"beyond its card at {width} pixels: {browser.do(OUTSIDE)}")

    # Another site's page, and a name of its own that leads here, read and change nothing.
    browser.open("http://rebound.test:9090/")
    check("localhost" in browser.text("body") and not browser.do("!!document.getElementById('uplinks')"), "a rebound name reads the page")
    browser.open(f"http://{ORIGIN}/page/1")
    browser.do(f"fetch('{PAGE}/mode', {{ method: 'POST', mode: 'no-cors', body: 'mode=full' }}).catch(() => 'refused')")
    browser.do(f"fetch('{PAGE}/status').then(() => 'read').catch(() => 'refused')")
    own = ["-H", "Host: 127.0.0.1:9090", "-d", "mode=full", f"{PAGE}/mode"]
    for wrong in (["-H", "Origin: http://evil.example"], [], ["-H", "Origin: null"],
                  ["-H", f"Origin: {PAGE}", "-H", "Sec-Fetch-Site: cross-site"]):
        check(ask(w, w.app, *wrong, *own)[0] == 403, f"{wrong} changes the mode")
    check(ask(w, w.app, "-H", "Origin: http://rebound.test:9090", "-d", "mode=full", "http://rebound.test:9090/mode")[0] == 403,
          "a rebound name changes the mode")
    check(pair.status()["sessions"][0]["mode"] == "single", "another site has changed the mode")
    check(ask(w, w.app, "-H", f"Origin: {PAGE}", *own)[0] == 200, "the page's own origin does not change the mode")

    # The concentrator's: by user, and with a token that changes need.
    other = "http://127.0.0.1:9091"
    events = first_events(w, w.net, other)
    names = [name for name, _ in events]
    check(names[:2] == ["hello", "second"] and names.count("second") >= 2, f"the stream begins with {names}")
    hello, second = events[0][1], events[-1][1]
    check([series["name"] for series in hello["series"]] == ["alice"], f"series {hello['series']}")
    check(len(second["uplinks"]) >= 1 and any("alice" in event["text"] for event in hello["events"]), "no path, no event")
    for token in ([], ["-H", "Authorization: Bearer 0123456789abcdeF"]):
        check(ask(w, w.net, *token, "-X", "POST", f"{other}/token")[0] == 401, f"{token} is taken")
    check(ask(w, w.net, "-H", "Authorization: Bearer 0123456789abcdef", "-X", "POST", f"{other}/token")[0] == 200, "the token is refused")
    pair.alive()


# Letters that a page, a terminal or a reader may take for something else.
HOSTILE = "<b>\"'&\u202e\x1b[1m"


@seconds(100)
def test_names_that_are_not_words(w):
    """An uplink's name is text on the page, letter by letter, and its role changes by it."""
    sh(["ip", "-n", w.app, "link", "set", "cell", "down"])
    sh(["ip", "-n", w.app, "link", "set", "cell", "name", HOSTILE])
    sh(["ip", "-n", w.app, "link", "set", HOSTILE, "up"])
    sh(["ip", "-n", w.app, "route", "replace", "default", "via", "10.81.2.1", "dev", HOSTILE, "metric", "200"])
    pair = w.pair(proxy=f"status: {PAGE[7:]}\n", uplinks=(), wait=False)
    pair.wait_for_paths(2)
    browser = Browser(w, w.app)
    browser.open(PAGE)
    written = "<b>\"'&\\u{202e}\\x1b[1m"
    for part in ("legend", "uplinks", "log"):
        browser.wait(f"document.getElementById('{part}').innerText.includes({json.dumps(written)})", f"the name in {part}")
    check(not browser.do("/[\\x1b\\u202e]/.test(document.body.innerText)"), "letters that change what stands beside them")
    check(browser.do("document.querySelectorAll('main td b b, #legend b b').length") == 0, "the name is markup")
    browser.do(f"{{ const menu = [...document.querySelectorAll('#uplinks select')].find(m => m.dataset.uplink === {json.dumps(HOSTILE)});"
               " menu.value = 'off'; menu.dispatchEvent(new Event('change')) }")
    browser.wait(f"document.getElementById('ask-title').innerText.includes({json.dumps(written)})", "the question")
    browser.do("document.querySelector('#ask .main').click()")
    w.wait(lambda: pair.usable() == 1, "the uplink to be off")
    check(not browser.problems, f"the console has {browser.problems}")
    pair.alive()
