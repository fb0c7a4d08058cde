# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The image of pods, built by containers/Containerfile on a base that mmdebstrap makes: no registry.

pod_image.py                              localhost/pgherd:VERSION-trixie and -bookworm
pod_image.py trixie --load                and into the nodes of the lab's Kubernetes
pod_image.py trixie --tag mine --load     localhost/pgherd:mine
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import archives
import loading
import state
from machine import CHECKOUT, LabError, install_packages, run, say

RELEASES = ("trixie", "bookworm")
NAME = "localhost/pgherd"
CONTAINERFILE = CHECKOUT / "containers" / "Containerfile"
CONTEXT = CHECKOUT / "plugins" / "module_utils"


def version() -> str:
    """The collection's version. Raises LabError."""
    found = re.search(r"^version: (\S+)$", (CHECKOUT / "galaxy.yml").read_text(), re.MULTILINE)
    if not found:
        raise LabError(f"{CHECKOUT}/galaxy.yml has no version")
    return found[1]


def reference(release: str, tag: str = "") -> str:
    """The image's name."""
    return f"{NAME}:{tag or f'{version()}-{release}'}"


def build(release: str, tag: str = "") -> str:
    """Build it, where nothing has changed in a second; its name. Raises LabError."""
    archives.tag_debian(release)
    name = reference(release, tag)
    # chroot: a machine that is a container itself lets nobody mount anew.
    how = ("--pull=never", "--isolation=chroot", "--network=host", "--layers", "--build-arg", f"DEBIAN={release}")
    run(["podman", "build", "--quiet", *how, "-t", name, "-f", str(CONTAINERFILE), str(CONTEXT)])
    return name


def main() -> int:
    """Build; a failure is one line on standard error and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", nargs="*", metavar="RELEASE", help=f"of {', '.join(RELEASES)}; otherwise all")
    parser.add_argument("--tag", default="", help="instead of VERSION-RELEASE; for one release")
    parser.add_argument("--load", action="store_true", help="put it into the nodes of the lab's Kubernetes")
    arguments = parser.parse_args()
    try:
        install_packages()
        for release in arguments.release or RELEASES:
            name = build(release, arguments.tag)
            if arguments.load:
                with state.lock():
                    loading.load(name)
            say(f"{name} is {'in all nodes' if arguments.load else 'ready'}")
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
