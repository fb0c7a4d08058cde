# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The last release's code, where Ansible looks for collections when ANSIBLE_COLLECTIONS_PATH says .cache/release.

python tests/upgrade/release.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTIONS = CHECKOUT / ".cache/release"


def commit() -> str:
    """The commit that tests/upgrade/RELEASE names."""
    lines = Path(__file__).with_name("RELEASE").read_text(encoding="utf-8").splitlines()
    (named,) = (line.strip() for line in lines if line.strip() and not line.startswith("#"))
    return named


def export(named: str = "", collections: Path = COLLECTIONS) -> Path:
    """Put the files of the commit *named*, by default the release's, where Ansible looks for *collections*, in the place of what
    is there; where they are. SystemExit when this clone has no such commit."""
    asked = f"{named}, which was asked for" if named else f"{commit()}, which tests/upgrade/RELEASE names"
    words = ["git", "-C", str(CHECKOUT), "archive", named or commit()]
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode:
        sys.exit(
            f"release: this clone has no commit {asked} ({done.stderr.decode().strip()}): fetch the whole history, "
            "git fetch --unshallow."
        )
    where = collections / "ansible_collections/pgherd/cluster"
    shutil.rmtree(collections, ignore_errors=True)
    where.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(where, filter="data")
    return where


if __name__ == "__main__":
    print(export())
