"""The gateway of docs/operations.md, as it stands there: its clients get all they know by DHCP and router advertisement."""
import os
import time

from runner import check, seconds
from test_capture import ask, fetch, only_tunnel, same, state, watch, with_networks
from world import HERE, ORIGIN, ORIGIN6, need, sh

# What a client does with what it is told (udhcpc(8)).
LEASE = """#!/bin/sh
case $1 in bound | renew)
    ip address add $ip/$mask dev $interface && ip route add default via $router
    for server in $dns; do echo "nameserver $server"; done >FOLDER/resolv.conf
esac
"""


def page():
    """The configuration of the proxy, the commands for the bridge, and the configuration of dnsmasq."""
    with open(f"{HERE}/../../docs/operations.md") as file:
        text = file.read().split("### A gateway")[1].split("```")[1]
    proxy, text = text.split("# the bridge")
    commands, dnsmasq = text.split("# /etc/dnsmasq.conf")
    return proxy.replace("wwan0", "cell").replace("wan0", "wifi"), commands.strip().splitlines()[1:], "#" + dnsmasq


def start_dnsmasq(w, settings):
    with open(f"{w.folder}/dnsmasq.conf", "w") as file:
        file.write(f"{settings}\nuser=root\npid-file={w.folder}/dnsmasq.pid\ndhcp-leasefile={w.folder}/leases\n")
    w.start(w.app, ["dnsmasq", "-C", f"{w.folder}/dnsmasq.conf", "-k", "--log-facility=-", "--log-dhcp"], "dnsmasq")


def lease(w):
    script = f"{w.folder}/lease"
    with open(script, "w") as file:
        file.write(LEASE.replace("FOLDER", w.folder))
    os.chmod(script, 0o755)
    done = w.run(w.lan, ["udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "20", "-T", "1", "-s", script], text=True)
    check(done.returncode == 0, f"no lease: {done.stderr[-500:]}")


def as_client(w, *command):
    """A program of the client's, with the name servers it was told of."""
    bound = f"mount --bind {w.folder}/resolv.conf /etc/resolv.conf && exec \"$@\""
    return w.run(w.lan, ["unshare", "--mount", "sh", "-c", bound, "sh", *command])


@seconds(90)
def test_the_page(w):
    need("dnsmasq", "udhcpc")
    with_networks(w)
    proxy, commands, dnsmasq = page()
    sh(f"ip netns exec {w.app} sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
    sh(f"ip -n {w.app} address flush dev br-lan scope global")
    for command in commands:
        sh(f"ip netns exec {w.app} {command}")
    for uplink in ("wifi", "cell"):
        sh(f"ip -n {w.app} -6 route replace default via fd00:81:{1 + (uplink == 'cell')}::1 dev {uplink} metric {1 + (uplink == 'cell')}00")
    sh(f"ip -n {w.lan} link set eth0 down && ip -n {w.lan} address flush dev eth0 && ip -n {w.lan} link set eth0 up")
    w.wait(lambda: "tentative" not in sh(f"ip -n {w.app} -6 address"), "the addresses")
    before = state(w)
    pair = w.pair(uplinks=(), proxy=proxy)
    pair.wait_for_paths(2)
    watcher = watch(w)
    start_dnsmasq(w, dnsmasq)
    lease(w)
    w.wait(lambda: "default via fe80" in sh(f"ip -n {w.lan} -6 route"), "the advertised route", 20)
    w.wait(lambda: (a := sh(f"ip -n {w.lan} -6 address show dev eth0 scope global")) and "tentative" not in a, "the advertised address", 20)
    check(open(f"{w.folder}/resolv.conf").read().split() == ["nameserver", "192.168.7.1"], "other name servers")
    for address in (ORIGIN, ORIGIN6):
        fetch(w, w.lan, address)
    for name in ("v4.test", "v6.test"):
        done = as_client(w, "curl", "-sS", "--max-time", "20", f"http://{name}/bytes/1000")
        check(len(done.stdout) == 1000, f"{name}: {done.stderr}")
    done = as_client(w, "dig", "+short", "+time=3", "@fd00:7::1", "v4.test")
    check(done.stdout.split() == [ORIGIN.encode()], f"names over IPv6: {done.stdout}")
    # The neighbour is asked again, as it is after half a minute: the router is one still.
    ask(w, w.lan, ORIGIN6)
    router = sh(f"ip -n {w.lan} -6 route show default").split()[2]
    sh(f"ip -n {w.lan} neigh change {router} dev eth0 router nud probe")
    w.wait(lambda: "REACHABLE" in sh(f"ip -n {w.lan} neigh show {router} dev eth0"), "the router to say that it is there")
    check("default via fe80" in sh(f"ip -n {w.lan} -6 route show default"), "the router's answer took the client's route away")
    ask(w, w.lan, ORIGIN6)
    fetch(w, w.app, ORIGIN)
    only_tunnel(w, watcher)
    pair.proxy.terminate()
    pair.proxy.wait(20)
    check(w.run(w.lan, ["curl", "-sS", "--max-time", "1", f"http://{ORIGIN}/"]).returncode != 0, "it gets out under closed")
    check(w.run(w.app, [w.braid, "capture", "remove"]).returncode == 0, "the rules stay")
    same(before, state(w))
