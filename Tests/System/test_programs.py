"""Programs that nobody here has configured, in the network behind a machine that captures."""
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import voip
from runner import OutOfBounds, Skip, between, check, seconds
from test_calls import TEXT, phone
from test_capture import capturing, only_tunnel, watch
from test_datagrams import interpreter
from test_service import others_exist
from world import HERE, ORIGIN, ORIGIN6, content, content_hash, need, sh

PEER = "10.81.3.1"

# A time server: the answer of the protocol's simplest client (RFC 4330).
TIME = """
import socket, struct, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("ADDRESS", 123))
print("ready", flush=True)
while True:
    data, peer = s.recvfrom(1024)
    now = struct.pack(">II", int(time.time()) + 2208988800, int(time.time() % 1 * 2 ** 32))
    head = bytes([0x24, 1, 6, 0xec]) + struct.pack(">II", 0, 16) + b"LOCL"
    s.sendto(head + now + data[40:48] + now + now, peer)
""".replace("ADDRESS", ORIGIN)

# Repositories over HTTP, by git's own program (gitprotocol-http(5)).
REPOSITORIES = """
import http.server, os
class Handler(http.server.CGIHTTPRequestHandler):
    cgi_directories = ["/git"]
    have_fork = False
http.server.ThreadingHTTPServer(("ADDRESS", 8080), Handler).serve_forever()
""".replace("ADDRESS", ORIGIN)


def repository(w):
    """A few thousand objects, served by git over HTTP."""
    folder = f"{w.folder}/served"
    os.makedirs(f"{folder}/git")
    os.symlink("/usr/lib/git-core/git-http-backend", f"{folder}/git/http-backend")
    sh(f"git init -q -b main {w.folder}/sources")
    for i in range(80):
        with open(f"{w.folder}/sources/{i}.txt", "wb") as file:
            file.write(hashlib.sha512(b"%d" % i).digest() * 40 + os.urandom(6_000))
    sh(f"cd {w.folder}/sources && git add . && git -c user.name=a -c user.email=a@b commit -qm one && git clone -q --bare . {folder}/one.git")
    w.start(w.net, [sys.executable, "-c", REPOSITORIES], "repositories", cwd=folder,
            env={**os.environ, "GIT_PROJECT_ROOT": folder, "GIT_HTTP_EXPORT_ALL": "1"})
    return f"{folder}/one.git"


def ssh_server(w):
    """A server on its usual port; what ssh is told so that it takes the key and asks nothing."""
    folder = w.folder
    os.makedirs(f"{folder}/home/.ssh", mode=0o700)
    sh(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/user"])
    sh(["dropbearkey", "-t", "ed25519", "-f", f"{folder}/host"])
    shutil.copy(f"{folder}/user.pub", f"{folder}/home/.ssh/authorized_keys")
    with open(f"{folder}/passwd", "w") as file:
        file.write(f"root:x:0:0:root:{folder}/home:/bin/bash\n")
    serve = (f"mount --bind {folder}/passwd /etc/passwd && exec dropbear -F -E -r {folder}/host -P {folder}/dropbear.pid"
             f" -p {ORIGIN}:22 -p [{ORIGIN6}]:22")
    w.start(w.net, ["unshare", "--mount", "sh", "-c", serve], "dropbear")
    w.wait(lambda: "Not backgrounding" in w.text("dropbear"), "the SSH server")
    return ["ssh", "-F", "none", "-i", f"{folder}/user", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]


def speaks_for_itself(w, name, command, **options):
    done = w.run(w.lan, command, timeout=50, **options)
    check(done.returncode == 0, f"{name}: {done.stderr[-500:]}")
    return done.stdout


@seconds(150)
def test_ssh_git_quic_and_time(w):
    """Over IPv4 and IPv6, with WiFi lost in the middle of a transfer by ssh."""
    need("git", "dropbear", "ssh", "ntpdig", "openssl")
    others_exist()
    pair = capturing(w)
    watcher = watch(w)
    w.limit(wifi=16, cell=8)
    repository(w)
    ssh = ssh_server(w)
    w.start(w.net, [sys.executable, "-c", TIME], "time")
    # A session that is there all the time, and a long transfer under which WiFi goes.
    echo = f"{' '.join(ssh)} root@origin.test 'echo begun; cat; echo ended'"
    session = subprocess.Popen(["ip", "netns", "exec", w.lan, "bash", "-c", echo], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    w.processes.append(session)
    size = 1_500_000
    with open(f"{w.folder}/sent", "wb") as file:
        for piece in content(size):
            file.write(piece)
    open(f"{w.folder}/came", "w").close()
    both_ways = w.start(w.lan, ["bash", "-c", f"{' '.join(ssh)} root@{ORIGIN6} cat <{w.folder}/sent >{w.folder}/came"], "ssh")
    w.wait(lambda: os.path.getsize(f"{w.folder}/came") > 200_000, "the transfer's beginning", 30)
    w.down("wifi")
    check(both_ways.wait(50) == 0, w.text("ssh"))
    with open(f"{w.folder}/came", "rb") as file:
        check(hashlib.sha256(file.read()).hexdigest() == content_hash(size), "other bytes came back")
    w.up("wifi")
    out, _ = session.communicate(b"spoken\n", timeout=20)
    check(out == b"begun\nspoken\nended\n", f"the session said {out}")
    # A repository over both, by name.
    environment = {**os.environ, "GIT_SSH_COMMAND": " ".join(ssh), "GIT_TERMINAL_PROMPT": "0"}
    for number, url in enumerate((f"http://{ORIGIN}:8080/git/http-backend/one.git", f"root@origin.test:{w.folder}/served/one.git")):
        speaks_for_itself(w, url, ["git", "clone", "-q", url, f"{w.folder}/clone{number}"], env=environment)
        sh(f"diff -r -x .git {w.folder}/sources {w.folder}/clone{number}")
    # The time, asked once.
    for space in (w.lan, w.app):
        done = w.run(space, ["ntpdig", "-j", "-t", "5", ORIGIN], text=True)
        check(done.returncode == 0 and '"stratum":1' in done.stdout.replace(" ", ""), f"ntpdig: {done.stdout} {done.stderr}")
    quic(w)
    only_tunnel(w, watcher)
    pair.alive()


def quic(w):
    python = interpreter("aioquic")
    if not python:
        return
    folder = w.folder
    sh(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=quic", "-keyout", f"{folder}/quic.key",
        "-out", f"{folder}/quic.pem"])
    w.start(w.net, [python, f"{HERE}/quic.py", "serve", ORIGIN, "4433", f"{folder}/quic.pem", f"{folder}/quic.key"], "quic")
    w.wait(lambda: "ready" in w.text("quic"), "the QUIC server")
    said = json.loads(speaks_for_itself(w, "aioquic", [python, f"{HERE}/quic.py", "plain", ORIGIN, "4433", "1000000"]))
    check(said["bytes"] == 1_000_000, f"QUIC: {said}")
    w.notes.append(f"QUIC: {said['bytes'] * 8e-6 / said['seconds']:.1f} Mbit/s")


@seconds(120)
def test_a_browser(w):
    """Sixty objects over IPv4 and IPv6, while WiFi is lost."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise Skip("no Chromium is installed")
    pair = capturing(w)
    watcher = watch(w)
    w.limit(wifi=4, cell=4)
    before = w.received("wifi")
    log = open(f"{w.folder}/page", "wb")
    process = subprocess.Popen(["ip", "netns", "exec", w.lan, browser, "--headless", "--no-sandbox", "--disable-gpu",
                                "--disable-dev-shm-usage", f"--user-data-dir={w.folder}/profile", "--virtual-time-budget=60000",
                                "--dump-dom", "http://origin.test/families/60"], stdout=log, stderr=open(f"{w.folder}/errors", "wb"))
    w.processes.append(process)
    w.wait(lambda: w.received("wifi") - before > 150_000, "the page's beginning", 40)
    w.down("wifi")
    process.wait(60)
    said = open(f"{w.folder}/page", "rb").read()
    seen = {c["name"]: c["value"] for c in pair.status()["counters"]}
    w.notes.append(f"{seen['captured_connections_total']} connections")
    only_tunnel(w, watcher)
    pair.alive()
    if b"60 loaded" not in said:
        raise OutOfBounds(f"{said[-300:]} {open(f'{w.folder}/errors').read()[-500:]}")


@seconds(90)
def test_a_call(w):
    """Between two telephones that know nothing of a proxy; one of them is a captured client, and loses WiFi."""
    need("baresip", "espeak-ng")
    sh(["espeak-ng", "-s", "150", "-w", f"{w.folder}/spoken.wav", TEXT])
    voip.write(f"{w.folder}/speech.wav", voip.samples(f"{w.folder}/spoken.wav"))
    w.start(w.mid, [sys.executable, f"{HERE}/voip.py", "stun", PEER, "3478"], "stun")
    pair = capturing(w)
    watcher = watch(w)
    callee, heard_by_callee = phone(w, "callee", w.mid, PEER, "10000-10010",
                                    f"<sip:callee@{PEER}>;regint=0;answermode=auto;audio_codecs=pcmu")
    w.wait(lambda: "ready" in w.text("stun"), "the STUN server")
    time.sleep(0.5)
    caller, heard_by_caller = phone(w, "caller", w.lan, "192.168.7.2", "11000-11010",
                                    f"<sip:caller@192.168.7.2>;regint=0;medianat=stun;stunserver=stun:{PEER}:3478;audio_codecs=pcmu",
                                    [f"d sip:callee@{PEER}"])
    w.wait(lambda: "established" in w.text("caller").lower(), "the call", 15)
    time.sleep(4)
    w.down("wifi")
    time.sleep(4)
    for each in (caller, callee):
        each.terminate()
        each.wait(10)
    only_tunnel(w, watcher)
    pair.alive()
    for who, folder in (("callee", heard_by_callee), ("caller", heard_by_caller)):
        recordings = glob.glob(f"{folder}/heard/*dec*.wav")
        check(recordings, f"the {who} heard nothing")
        said, missing = voip.compare(voip.samples(f"{w.folder}/speech.wav"), voip.samples(recordings[0]))
        w.notes.append(f"the {who} heard {said:.1f} s of speech, {missing:.2f} s are missing")
        between(said, 4, 10, f"speech the {who} heard, s")
        between(missing, 0, 0.1, f"speech the {who} missed, s")
