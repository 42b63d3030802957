"""A pair in two commands: setup, invitations, join, and users that come and go without a restart."""
import fcntl
import os
import re
import subprocess
import threading

from runner import check, seconds
from world import CONCENTRATOR, sh


def braid(w, *arguments, space=None, **options):
    command = [w.braid, *arguments]
    if space:
        command = ["ip", "netns", "exec", space, *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def done(w, *arguments, **options):
    result = braid(w, *arguments, **options)
    check(result.returncode == 0, f"{arguments[0]}: {result.stdout}{result.stderr}")
    return result.stdout


def link_of(text):
    return re.search(r"braid://[^\s']+", text).group()


def test_the_packages_unit_is_taken(w):
    """Where the package has a unit for this very program none is written in front of it."""
    os.makedirs("/run/systemd/system", exist_ok=True)
    sh("mount -t tmpfs none /lib/systemd && mkdir /lib/systemd/system")
    try:
        unit = "/etc/systemd/system/braid-concentrator.service"
        shown = done(w, "setup", "concentrator", "--print", space=w.net)
        check(f"file {unit}" in shown and "enable --now braid-concentrator" in shown, shown)
        body = shown[shown.index(f"file {unit}"):]
        start = re.search(r"ExecStart=.*", body).group()
        for other, is_written in ((start, False), ("ExecStart=/opt/braid concentrator", True)):
            with open("/lib/systemd/system/braid-concentrator.service", "w") as file:
                file.write(f"[Service]\n{other}\nUser=braid\n")
            shown = done(w, "setup", "concentrator", "--print", space=w.net)
            check((f"file {unit}" in shown) == is_written and "enable --now braid-concentrator" in shown, shown)
    finally:
        sh("umount -l /lib/systemd && rmdir /run/systemd/system /run/systemd")


@seconds(180)
def test_a_pair_in_two_commands(w):
    """As root of these namespaces, where there is no systemd: files, key, invitation, session, download."""
    here, there = f"{w.folder}/here", f"{w.folder}/there"
    # A folder is named from where the command is given, whatever its name.
    odd = f"{w.folder}/odd: #1"
    os.mkdir(odd)
    said = done(w, "setup", "concentrator", "--folder", "own", "--state", "it's: #2", "--run-as", "root", "--name", CONCENTRATOR, space=w.net, cwd=odd)
    check(os.path.exists(f"{odd}/it's: #2/users/first.yaml"), said)
    done(w, "check", "--config", f"{odd}/own/concentrator.yaml")
    # Nothing is done where it is only to be shown.
    shown = done(w, "setup", "concentrator", "--print", "--folder", there, "--state", f"{there}/state", "--run-as", "root", space=w.net)
    check("concentrator.yaml" in shown and "(secret)" in shown and not os.path.exists(there), shown)
    said = done(w, "setup", "concentrator", "--folder", there, "--state", f"{there}/state", "--run-as", "root", "--name", CONCENTRATOR,
                "--user", "alice", space=w.net)
    link = link_of(said)
    check(f"braid://{CONCENTRATOR}:443/" in link and "concentrator.yaml" in said, said)
    # Again: nothing is written over, and alice is invited already.
    before = open(f"{there}/concentrator.key").read()
    shown = done(w, "setup", "concentrator", "--print", "--folder", there, "--state", f"{there}/state", "--run-as", "root", space=w.net)
    check("(secret)" not in shown and shown.count("is there: left as it is") >= 4, f"what is there would be made: {shown}")
    again = braid(w, "setup", "concentrator", "--user", "alice", "--folder", there, "--state", f"{there}/state", "--run-as", "root", space=w.net)
    check(again.returncode == 0 and "braid user remove alice" in again.stdout and "left as it is" in again.stdout and open(f"{there}/concentrator.key").read() == before, f"{again}")
    check(said.endswith(f"Start it with: braid concentrator --config {there}/concentrator.yaml\n"), said)
    check("Start it with" in again.stdout, f"{again}")
    config = f"{there}/concentrator.yaml"
    control = f"{w.folder}/c.sock"
    with open(config, "a") as file:
        file.write(f"egress: {{ deny: [] }}\nuser: root\ncontrol: {control}\n")
    concentrator = w.start(w.net, [w.braid, "concentrator", "--config", config], "concentrator")
    w.wait(lambda: os.path.exists(control), "the concentrator")
    again = done(w, "setup", "concentrator", "--user", "alice", "--folder", there, "--state", f"{there}/state", "--run-as", "root", space=w.net)
    check(f"runs here already: it answers at {control}" in again and "Start it with" not in again, again)
    # What can't be a proxy does not use the invitation up.
    for wrong in ("bogus", "mixed://0.0.0.0:1080", "socks6://127.0.0.1:1080"):
        refused = braid(w, "join", link, "--listen", wrong, "--run-as", "root", "--folder", here, space=w.app)
        check(refused.returncode == 2 and "--listen" in refused.stderr and not os.path.exists(here), f"{refused}")
    # Where nobody answers, it is said over which uplinks.
    refused = braid(w, "join", link.replace(":443/", ":444/"), "--run-as", "root", "--folder", here, space=w.app)
    check(refused.returncode == 1 and " over wifi, cell: " in refused.stderr and not os.path.exists(here), f"{refused}")
    # A letter of it that was lost on the way, and one that became another.
    at = link.index(":443/") + 9
    for wrong, word in ((link[:at] + link[at + 1:], "cut or changed"), (link[:at] + ("A" if link[at] != "A" else "B") + link[at + 1:], "just as it was printed")):
        refused = braid(w, "join", wrong, "--run-as", "root", "--folder", here, space=w.app)
        check(refused.returncode != 0 and word in refused.stderr and not os.path.exists(here), f"{refused}")
    # Whoever reads the code reads the link.
    shown = braid(w, "join", "--print", link, "--folder", here, space=w.app)
    check(shown.returncode == 0 and not os.path.exists(here), f"{shown}")
    # A machine that can't keep its key does not use the invitation up.
    full = f"{w.folder}/full"
    os.mkdir(full)
    sh(f"mount -t tmpfs -o ro none {full}")
    refused = braid(w, "join", link, "--run-as", "root", "--folder", full, space=w.app)
    sh(f"umount {full}")
    check(refused.returncode == 1 and "proxy.key" in refused.stderr, f"{refused}")
    said = done(w, "join", link, "--run-as", "root", "--folder", here, "--listen", "mixed://a:it's #1@127.0.0.1:1080", space=w.app)
    check("mixed://a:it''s #1@" in open(f"{here}/proxy.yaml").read(), "the password is not as it was given")
    done(w, "check", "--config", f"{here}/proxy.yaml")
    with open(f"{here}/proxy.yaml") as file:
        text = file.read()
    with open(f"{here}/proxy.yaml", "w") as file:
        file.write(text.replace("a:it''s #1@", ""))
    check("knows this machine as alice" in said, said)
    check(said.count("works, round trip") == 2, said)
    own = open(f"{here}/proxy.key").read().strip()
    check(own not in link and oct(os.stat(f"{here}/proxy.key").st_mode)[-3:] in ("640", "600"), "the key is open")
    # It was interrupted behind its first words: it goes on.
    os.unlink(f"{here}/proxy.yaml")
    said = done(w, "join", link, "--run-as", "root", "--folder", here, space=w.app)
    check("key already" in said and open(f"{here}/proxy.key").read().strip() == own and os.path.exists(f"{here}/proxy.yaml"), said)
    check(sorted(os.listdir(here)) == ["proxy.key", "proxy.yaml"], f"{os.listdir(here)}")
    # A second time, with the same invitation: it was good for one.
    wait_refused = braid(w, "join", link, "--run-as", "root", "--folder", f"{w.folder}/thief", space=w.app)
    check(wait_refused.returncode == 1 and not os.path.exists(f"{w.folder}/thief/proxy.key"), f"{wait_refused}")
    # And nothing there is written over.
    check(braid(w, "join", link, "--run-as", "root", "--folder", here, space=w.app).returncode == 2, "written over")
    with open(f"{here}/proxy.yaml", "a") as file:
        file.write("user: root\n")
    w.start(w.app, [w.braid, "proxy", "--config", f"{here}/proxy.yaml", "--control", f"{w.folder}/p.sock"], "proxy")
    w.wait(lambda: w.curl("http://origin.test/where", limit=5).returncode == 0, "a page", 20)
    listed = done(w, "user", "list", "--config", config)
    check(listed.startswith("alice") and "invited" not in listed, listed)
    late = users(w, config, control)
    after_a_restart(w, config, control, concentrator, (link, late))


def after_a_restart(w, config, control, concentrator, links):
    """Who comes by an invitation that was used up or whose time is over is no stranger to let in, still."""
    concentrator.terminate()
    w.wait(lambda: concentrator.poll() is not None, "the concentrator's end", 40)
    w.start(w.net, [w.braid, "concentrator", "--config", config], "concentrator2")
    w.wait(lambda: braid(w, "status", "--control", control).returncode == 0, "the next concentrator")
    for link in links:
        refused = braid(w, "join", link, "--run-as", "root", "--folder", f"{w.folder}/thief", space=w.app)
        check(refused.returncode == 1 and "its time is over" in refused.stderr, f"{refused}")
    check(w.text("concentrator2").count("an invitation that is none any more was tried") >= 2, w.text("concentrator2"))
    check("user add NAME" not in braid(w, "status", "--control", control).stdout, "an old invitation is shown as a stranger")


def users(w, config, control):
    """Those of the command line, at once; the living one's session stays."""
    key, public = w.key("bob")
    with open(config) as file:
        folder = re.search("users_directory: '(.*)'", file.read())[1]
    # Several people's commands at once wait for one another.
    other = os.open(folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    threading.Timer(0.5, os.close, [other]).start()
    check("in effect" in done(w, "user", "add", "bob", public, "--config", config), "not in effect")
    twice = braid(w, "user", "add", "bob", public, "--config", config)
    check(twice.returncode == 2 and "bob" in twice.stderr, f"{twice}")
    for wrong in ("../x", ".x", "a b", ""):
        check(braid(w, "user", "add", wrong, public, "--config", config).returncode == 2, f"a file {wrong!r}")
    link = done(w, "user", "invite", "carol", "--plain", "--valid", "1s", "--config", config).strip()
    listed = done(w, "user", "list", "--config", config)
    check("bob" in listed, listed)
    late = w.wait(lambda: "carol" not in done(w, "user", "list", "--config", config), "the invitation to end")
    check(late is None, "")
    over = braid(w, "join", link, "--run-as", "root", "--folder", f"{w.folder}/late", space=w.app)
    check(over.returncode == 1 and "its time is over" in over.stderr, f"{over}")
    # Whoever has its link is not shown as a machine that could be let in: neither that one nor the thief.
    check("user add NAME" not in braid(w, "status", "--control", control).stdout, "an old invitation is shown as a stranger")
    check("in effect" in done(w, "user", "remove", "bob", "--config", config), "not in effect")
    check(braid(w, "user", "remove", "bob", "--config", config).returncode == 2, "removed twice")
    # Who knocks with a key that nobody knows is shown, with what lets him in.
    stranger = f"{w.folder}/stranger.yaml"
    with open(stranger, "w") as file:
        file.write(open(f"{w.folder}/here/proxy.yaml").read().replace("proxy.key", key).replace("127.0.0.1:1080", "127.0.0.1:1090"))
    w.start(w.app, [w.braid, "proxy", "--config", stranger, "--control", f"{w.folder}/s.sock"], "stranger")
    shown = lambda: braid(w, "status", "--control", control).stdout
    w.wait(lambda: f"braid user add NAME {public}" in shown(), "the stranger to be shown", 15)
    done(w, "user", "add", "bob", public, "--config", config)
    check(public not in shown(), "still a stranger")
    w.wait(lambda: w.curl("http://origin.test/where", proxy="--socks5-hostname 127.0.0.1:1090", limit=5).returncode == 0,
           "the stranger to be let in", 30)
    check(w.text("proxy").count("session opened") == 1, "alice's session did not live on")
    return link
