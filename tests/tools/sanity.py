# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Runs ``ansible-test sanity --venv`` on the checkout as it stands, uncommitted files included.

ansible-test wants a real path that ends in ansible_collections/NAMESPACE/NAME, so it gets a copy that is kept and
brought up to date. It also wants to download pip's installer from a host that not every network lets through; pip can
as well come from Python's own ensurepip. Its own home directory keeps all of this out of the person's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SANITY = CHECKOUT / ".cache/sanity"
COPY = SANITY / "ansible_collections/pgherd/cluster"
HOME = SANITY / "home"

PYTHONS = ("3.9", "3.13")  # beside the one it runs on, if they are installed: the floor and a newer one

_GET_PIP = """\
import subprocess
import sys

# in a process of its own: it changes pip's environment
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *wanted]))
"""


def files() -> set[Path]:
    """The checkout's own files, relative: what git knows and what it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    return {Path(name) for name in listed.stdout.split("\0") if name and (CHECKOUT / name).is_file()}


def copy(to: Path) -> None:
    """Bring a copy of the checkout up to date: changed files are copied, vanished ones removed."""
    wanted = files()
    for name in wanted:
        source, target = CHECKOUT / name, to / name
        if not target.exists() or target.stat().st_mtime_ns != source.stat().st_mtime_ns:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for target in [path for path in to.rglob("*") if path.is_file()]:
        name = target.relative_to(to)
        if name not in wanted and name.parts[0] != ".git" and name.parts[:2] != ("tests", "output"):
            target.unlink()


def provide_pip() -> None:
    """Put the installer of the pip version that this ansible-test asks for where it looks first."""
    import ansible_test

    source = Path(ansible_test.__path__[0]) / "_internal/python_requirements.py"
    for version in re.findall(r"\bpip='([0-9.]+)'", source.read_text(encoding="utf-8")):
        name = f"get_pip_{version.replace('.', '_')}.py"
        target = HOME / ".ansible/test/cache" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_GET_PIP, encoding="utf-8")


def provide_pip_settings() -> None:
    """Hand the person's pip settings on: ansible-test drops the environment that says them, and we change the home."""
    listed = subprocess.run(["pip", "config", "list"], check=True, capture_output=True, text=True).stdout
    settings = re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE)
    target = HOME / ".config/pip/pip.conf"
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = {key: f"{key} = {value}" for key, value in settings}
    target.write_text("\n".join(["[global]", *lines.values()]) + "\n", encoding="utf-8")


def environment() -> dict[str, str]:
    """Real interpreters only: a pyenv shim answers to its name and then does not run."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    versions = [str(path) for wanted in PYTHONS for path in pyenv.glob(f"versions/{wanted}.*/bin")]
    path = [entry for entry in os.environ["PATH"].split(os.pathsep) if "shims" not in entry]
    own = {"HOME": str(HOME), "PATH": os.pathsep.join([*path, *versions])}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {**inherited, **own, "PYTHONDONTWRITEBYTECODE": ""}


def main() -> int:
    """Run the tests; ``--copy DIRECTORY`` only copies the checkout there."""
    if sys.argv[1:2] == ["--copy"]:
        copy(Path(sys.argv[2]))
        return 0
    copy(COPY)
    if not (COPY / ".git").exists():  # or ansible-test asks the checkout's git, which ignores this directory
        subprocess.run(["git", "init", "--quiet", str(COPY)], check=True)
    provide_pip()
    provide_pip_settings()
    command = ["ansible-test", "sanity", "--venv", "--color", "no", *sys.argv[1:]]
    return subprocess.run(command, cwd=COPY, env=environment(), check=False, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
