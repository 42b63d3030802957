"""BitTorrent (libtorrent) over uTP, without TCP: a seed, and a peer whose datagrams go through SOCKS5's UDP ASSOCIATE.

    torrent.py seed FOLDER ADDRESS PORT BYTES       makes FOLDER/file and FOLDER/file.torrent, and serves them
    torrent.py fetch FOLDER INTO ADDRESS PORT       fetches it through the proxy; one JSON object
"""
import json
import os
import random
import sys
import time

import libtorrent as lt

from datagrams import PROXY


def session(interfaces, **settings):
    return lt.session({"listen_interfaces": interfaces, "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
                       "enable_natpmp": False, "enable_incoming_tcp": False, "enable_outgoing_tcp": False,
                       "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.connect_notification
                       | lt.alert.category_t.status_notification, **settings})


def seed(folder, address, port, size):
    with open(f"{folder}/file", "wb") as file:
        file.write(random.Random(71).randbytes(size))
    storage = lt.file_storage()
    lt.add_files(storage, f"{folder}/file")
    torrent = lt.create_torrent(storage, 64 << 10)
    lt.set_piece_hashes(torrent, folder)
    with open(f"{folder}/file.torrent", "wb") as file:
        file.write(lt.bencode(torrent.generate()))
    s = session(f"{address}:{port}")
    handle = s.add_torrent({"ti": lt.torrent_info(f"{folder}/file.torrent"), "save_path": folder})
    while not handle.status().is_seeding:
        time.sleep(0.05)
    print("ready", flush=True)
    while True:
        for alert in s.pop_alerts():
            print(alert, flush=True)
        time.sleep(0.2)


def fetch(folder, into, address, port):
    s = session("127.0.0.1:0", proxy_type=lt.proxy_type_t.socks5, proxy_hostname=PROXY[0], proxy_port=PROXY[1],
                proxy_peer_connections=True, anonymous_mode=False)
    handle = s.add_torrent({"ti": lt.torrent_info(f"{folder}/file.torrent"), "save_path": into})
    began = time.monotonic()
    last = 0.0
    while not handle.status().is_seeding:
        now = time.monotonic()
        if not handle.status().num_peers and now - last > 1:
            handle.connect_peer((address, port))
            last = now
        for alert in s.pop_alerts():
            print(alert, file=sys.stderr, flush=True)
        print(handle.status().total_done, flush=True)
        if now - began > 50:
            sys.exit(f"{handle.status().total_done} bytes came")
        time.sleep(0.1)
    took = time.monotonic() - began
    same = open(f"{folder}/file", "rb").read() == open(f"{into}/file", "rb").read()
    print(json.dumps({"seconds": took, "same": same, "bytes": os.path.getsize(f"{into}/file")}), flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "seed":
        seed(words[1], words[2], int(words[3]), int(words[4]))
    else:
        fetch(words[1], words[2], words[3], int(words[4]))
