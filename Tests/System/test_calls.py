"""A telephone call between two real SIP programs, whose media goes through the SOCKS port while WiFi is lost."""
import glob
import os
import sys
import time

import voip
from runner import between, check, seconds
from test_datagrams import counter
from world import HERE, need, sh

MODULES = "/usr/lib/baresip/modules"
PHONE = "10.82.0.2"
# On the router: of a host of its own, so that it is called from there and not from the concentrator's.
PEER = "10.81.3.1"
TEXT = ("The quick brown fox jumps over the lazy dog, and then it tells everybody about it: "
        "one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen. "
        "Whoever goes from one network to another should not hear that anything has happened. ") * 3


def phone(world, name, space, address, ports, account, commands=()):
    """baresip with a folder of its own: speaks from a file, keeps what it hears in another."""
    folder = f"{world.folder}/{name}"
    os.makedirs(f"{folder}/heard")
    with open(f"{folder}/config", "w") as file:
        file.write(f"poll_method epoll\nsip_listen {address}:5060\nsip_transports udp\n"
                   f"audio_source aufile,{world.folder}/speech.wav\naudio_player aubridge,none\naudio_alert aubridge,none\n"
                   f"ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\n"
                   f"rtp_ports {ports}\njitter_buffer_delay 1-20\nrtp_stats no\nnet_interface {address}\n"
                   f"module_path {MODULES}\nmodule g711.so\nmodule aufile.so\nmodule aubridge.so\nmodule sndfile.so\n"
                   f"module_tmp account.so\nmodule stun.so\nmodule_app menu.so\nsnd_path {folder}/heard\n")
    with open(f"{folder}/accounts", "w") as file:
        file.write(account + "\n")
    open(f"{folder}/contacts", "w").close()
    command = ["baresip", "-4", "-v", "-f", folder]
    for each in commands:
        command += ["-e", each]
    return world.start(space, command, name), folder


@seconds(90)
def test_speech_survives_wifi(world):
    """baresip calls baresip through a SOCKS5 UDP relay; the interface is lost in the middle. What each hears is
    compared with what the other one said."""
    need("baresip", "espeak-ng", "nft")
    spoken = f"{world.folder}/spoken.wav"
    sh(["espeak-ng", "-s", "150", "-w", spoken, TEXT])
    voip.write(f"{world.folder}/speech.wav", voip.samples(spoken))
    # The telephone's own interface: what goes to the other one is redirected to the front there.
    sh(f"ip -n {world.app} link add phone0 type veth peer name phone1 && ip -n {world.app} link set phone1 up && ip -n {world.app} address add {PHONE}/24 dev phone0 "
       f"&& ip -n {world.app} link set phone0 up && ip -n {world.app} route add {PEER} dev phone0 src {PHONE}")
    sh(f"ip netns exec {world.app} nft -f -", input=(
        "table ip front {\nchain output {\ntype nat hook output priority -100;\n"
        f"ip saddr {PHONE} ip daddr {PEER} udp dport {{ 3478, 5060, 10000-10010 }} redirect\n}}\n}}\n"))
    world.start(world.mid, [sys.executable, f"{HERE}/voip.py", "stun", PEER, "3478"], "stun")
    pair = world.pair()
    world.limit(wifi=8, cell=2)
    world.start(world.app, [sys.executable, f"{HERE}/voip.py", "front", PEER, "3478", "5060", *map(str, range(10000, 10011))], "front")
    callee, heard_by_callee = phone(world, "callee", world.mid, PEER, "10000-10010",
                                    f"<sip:callee@{PEER}>;regint=0;answermode=auto;audio_codecs=pcmu")
    world.wait(lambda: "ready" in world.text("front") and "ready" in world.text("stun"), "the front")
    time.sleep(0.5)
    caller, heard_by_caller = phone(world, "caller", world.app, PHONE, "11000-11010",
                                    f"<sip:caller@{PHONE}>;regint=0;medianat=stun;stunserver=stun:{PEER}:3478;audio_codecs=pcmu",
                                    [f"d sip:callee@{PEER}"])
    world.wait(lambda: "established" in world.text("caller").lower(), "the call", 15)
    time.sleep(5)
    world.down("wifi")
    time.sleep(5)
    for each in (caller, callee):
        each.terminate()
        each.wait(10)
    check(counter(pair, "concentrator", "datagrams_sent_total") > 500, "the speech went another way")
    for who, folder in (("callee", heard_by_callee), ("caller", heard_by_caller)):
        recordings = glob.glob(f"{folder}/heard/*dec*.wav")
        check(recordings, f"the {who} heard nothing")
        said, missing = voip.compare(voip.samples(f"{world.folder}/speech.wav"), voip.samples(recordings[0]))
        world.notes.append(f"the {who} heard {said:.1f} s of speech, {missing:.2f} s are missing")
        between(said, 5, 12, f"speech the {who} heard, s")
        between(missing, 0, 0.06, f"speech the {who} missed, s")
