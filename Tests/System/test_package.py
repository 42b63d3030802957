"""The Debian package: made, looked through, installed, upgraded, removed and purged over a copy of this machine's root."""
import os
import subprocess

from runner import Skip, check, seconds
from world import HERE, need, sh


def inside(root, *command):
    result = subprocess.run(["chroot", root, *command], capture_output=True, text=True, timeout=60)
    check(result.returncode == 0, f"{command}: {result.stdout}{result.stderr}")
    return result.stdout


@seconds(240)
def test_installed_upgraded_removed_purged(w):
    need("dpkg-deb", "dpkg-shlibdeps", "lintian")
    if "libswift" in sh(["ldd", w.braid]):
        raise Skip("this program has no Swift library inside: give one that deploy/build made")
    package = sh([f"{HERE}/../../deploy/package", "--binary", w.braid, "--output", w.folder],
                 env={**os.environ, "DPKG_DEB_COMPRESSOR_LEVEL": "0"}).strip()
    lint = subprocess.run(["lintian", "--fail-on", "error,warning", package], capture_output=True, text=True)
    check(lint.returncode == 0, lint.stdout + lint.stderr)
    # What is done there is gone with the namespace.
    root = f"{w.folder}/root"
    os.mkdir(root)
    over = f"{w.folder}/over"
    os.mkdir(over)
    sh(f"mount -t tmpfs none {over} && mkdir {over}/upper {over}/work && cp {package} {over}/upper/braid.deb")
    sh(f"mount -t overlay overlay -o lowerdir=/,upperdir={over}/upper,workdir={over}/work {root} && mount -t proc proc {root}/proc")
    try:
        inside(root, "dpkg", "-i", "/braid.deb")
        version = inside(root, "/usr/bin/braid", "--version")
        check(version.startswith("braid "), version)
        inside(root, "id", "braid")
        check(oct(os.stat(f"{root}/etc/braid").st_mode)[-3:] == "750", "/etc/braid is open")
        unit = open(f"{root}/lib/systemd/system/braid-proxy.service").read()
        check("ExecStart=/usr/bin/braid proxy" in unit, unit)
        for page in ("braid", "braid-proxy", "braid-doctor", "braid-user-invite"):
            check(os.path.exists(f"{root}/usr/share/man/man1/{page}.1.gz"), f"no page {page}")
        inside(root, "/usr/bin/braid", "keygen", "/etc/braid/proxy.key")
        check("braid upgrade" in inside(root, "dpkg", "-i", "/braid.deb"), "an upgrade does not say what it leaves")
        inside(root, "dpkg", "-r", "braid")
        check(not os.path.exists(f"{root}/usr/bin/braid") and os.path.exists(f"{root}/etc/braid/proxy.key"), "removed wrongly")
        # What setting up leaves: a unit that names the program, and that it is enabled. A unit of somebody's own stays.
        units = f"{root}/etc/systemd/system"
        os.makedirs(f"{units}/multi-user.target.wants", exist_ok=True)
        for side, program in (("proxy", "/usr/bin/braid"), ("concentrator", "/usr/local/bin/braid")):
            with open(f"{units}/braid-{side}.service", "w") as file:
                file.write(f"[Service]\nExecStart={program} {side}\n")
        os.symlink("/lib/systemd/system/braid-proxy.service", f"{units}/multi-user.target.wants/braid-proxy.service")
        inside(root, "dpkg", "-P", "braid")
        check(not os.path.exists(f"{root}/etc/braid"), "purged not whole")
        left = [f for _, _, files in os.walk(units) for f in files if f.startswith("braid")]
        check(left == ["braid-concentrator.service"], f"of the units is left: {left}")
    finally:
        sh(f"umount -l {root}/proc && umount -l {root} && umount -l {over}")
