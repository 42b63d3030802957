"""braid figures writes what it promises, the same for the same seed, and says what is wrong with a folder."""
import csv
import os
import subprocess
import tempfile
import xml.etree.ElementTree as xml

from runner import check, seconds

FIGURES = ["figure-1", "figure-2a", "figure-2b", "figure-3", "figure-3-udp", "figure-4", "figure-5", "section-5"]


def figures(world, folder, *options):
    return subprocess.run([world.braid, "figures", folder, "--runs", "1", *options],
                          capture_output=True, text=True, timeout=600)


@seconds(1210)
def test_files(world):
    with tempfile.TemporaryDirectory() as folder:
        first, second = os.path.join(folder, "first"), os.path.join(folder, "second")
        for where in (first, second):
            done = figures(world, where)
            check(done.returncode == 0, f"exit code {done.returncode}: {done.stdout}{done.stderr}")
        names = sorted(os.listdir(first))
        for name in FIGURES:
            picture = xml.parse(os.path.join(first, name + ".svg")).getroot()
            words = " ".join(picture.itertext())
            check(picture.tag.endswith("svg") and "WiFi" in words, f"{name}.svg says nothing of WiFi")
            with open(os.path.join(first, name + ".csv"), newline="") as file:
                rows = list(csv.reader(file))
            check(len(rows) > 10 and len({len(row) for row in rows}) == 1, f"{name}.csv is no table")
        check(sum(name.endswith(".wav") for name in names) == 7, f"{names}")
        check(open(os.path.join(first, "summary.md")).read().startswith("| what |"), "no summary")
        for name in names:
            same = open(os.path.join(first, name), "rb").read() == open(os.path.join(second, name), "rb").read()
            check(same, f"{name} differs for the same seed")


@seconds(60)
def test_a_folder_that_cannot_be(world):
    for options, words in [(["/dev/null/there"], "/dev/null/there can't be made"),
                           (["/dev/null"], "/dev/null can't be written")]:
        done = figures(world, *options)
        check(done.returncode == 2 and words in done.stderr, f"{done.returncode}: {done.stderr}")
    done = figures(world, "/tmp", "--runs", "0")
    check(done.returncode == 2 and "--runs" in done.stderr, f"{done.returncode}: {done.stderr}")
