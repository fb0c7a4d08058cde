# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The programs of the lab's Kubernetes, built from Go's module proxy, once per machine and version.

Each has a folder in programs/, whose go.mod and go.sum say exactly what it is made of. What was built lies in CACHE, under a
name that changes with them, so that checkouts of other versions do not meet.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from machine import LabError, install_packages, run, say

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pgherd" / "kubernetes"
SOURCES = Path(__file__).with_name("programs")
GO = (1, 26, 8)
_VERSION = "k8s.io/component-base/version"
TRIES = 4  # of what needs the module proxy


@dataclass(frozen=True)
class Program:
    """One of them: its folder and name, and the package that is built there."""

    name: str
    package: str = "."


POLICIES = "kube-router"
PROGRAMS = (
    Program("hyperkube"),
    Program("coredns"),
    Program("local-path-provisioner", "github.com/rancher/local-path-provisioner"),
    Program(POLICIES, "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"),
)


def key(folder: Path) -> str:
    """What a program's file is called by: another one for other sources."""
    digest = hashlib.sha256(repr(GO).encode())
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def target(name: str) -> Path:
    """Where a program lies once it is built."""
    return CACHE / "programs" / f"{name}-{key(SOURCES / name)}" / name


def paths(policies: bool = True) -> dict[str, str]:
    """All programs, and kubectl, by name; built where they are missing. Raises LabError. What keeps NetworkPolicies is left out
    without *policies*."""
    wanted = [one for one in PROGRAMS if policies or one.name != POLICIES]
    missing = [one for one in wanted if not target(one.name).exists()]
    if missing:
        CACHE.mkdir(parents=True, exist_ok=True)
        go = _go()
        for one in missing:
            _build(go, one)
    hyperkube = target("hyperkube")
    kubectl = hyperkube.with_name("kubectl")
    if not kubectl.is_symlink():
        kubectl.symlink_to("hyperkube")
    return {one.name: str(target(one.name)) for one in wanted} | {"kubectl": str(kubectl)}


def stamp(module: str, text: str) -> str:
    """The linker's flags for Kubernetes' version, which *text*, a go.mod, requires; '' for other programs."""
    found = re.search(rf"^\s+{re.escape(module)} v(\d+)\.(\d+)\.(\S+)$", text, re.MULTILINE)
    if not found:
        return ""
    major, minor, patch = found.groups()
    values = {"gitVersion": f"v{major}.{minor}.{patch}", "gitMajor": major, "gitMinor": minor}
    return " ".join(f"-X {_VERSION}.{name}={value}" for name, value in values.items())


def _build(go: str, program: Program) -> None:
    folder, wanted = SOURCES / program.name, target(program.name)
    say(f"building {program.name} (once per machine; all of them take ten minutes of two free processors)")
    begun = time.monotonic()
    _patiently([go, "mod", "download"], folder)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    unfinished = wanted.with_suffix(f".{os.getpid()}")
    flags = f"-s -w {stamp('k8s.io/kubernetes', (folder / 'go.mod').read_text())}"
    _patiently([go, "build", "-trimpath", "-ldflags", flags, "-o", str(unfinished), program.package], folder)
    unfinished.replace(wanted)
    say(f"built {program.name} in {time.monotonic() - begun:.0f} s")


def _patiently(command: list[str], folder: Path) -> None:
    """Run one of Go's commands in a folder, behind everybody else's; what was broken off goes on where it was."""
    env = dict(os.environ, CGO_ENABLED="0", GOTOOLCHAIN="go" + ".".join(map(str, GO)))
    if _version(command[0], dict(os.environ, GOTOOLCHAIN="local")) >= GO:
        env["GOTOOLCHAIN"] = "local"
    said = ""
    for _attempt in range(TRIES):
        argv = ["nice", "-n", "19", *command]
        done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        said = done.stderr.strip()[-1500:]
        say(f"again, after: {said[-200:]}")
    raise LabError(f"{' '.join(command[1:3])} in {folder}: {said}; proxies are Go's own: GOPROXY, HTTPS_PROXY")


def _version(go: str, env: dict[str, str] | None = None) -> tuple[int, ...]:
    done = subprocess.run([go, "version"], env=env, capture_output=True, text=True, check=False)
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    return tuple(int(number or 0) for number in found.groups()) if found else (0, 0, 0)


def _go() -> str:
    """A go that can build them: the machine's, which fetches a newer one by itself since 1.21, or one that an older fetches as
    a module."""
    local = Path("/usr/local/go/bin/go")
    found = shutil.which("go") or (str(local) if local.exists() else "")
    if not found:
        install_packages({"go": "golang-go"})
        found = shutil.which("go") or ""
    if _version(found, dict(os.environ, GOTOOLCHAIN="local")) >= (1, 21, 0):
        return found
    version = "go" + ".".join(map(str, GO))
    machine = run([found, "env", "GOOS", "GOARCH"]).split()
    module = f"golang.org/toolchain@v0.0.1-{version}.{'-'.join(machine)}"
    say(f"fetching {version}: the machine's go is older than 1.21")
    empty = CACHE / "toolchain"
    empty.mkdir(parents=True, exist_ok=True)
    (empty / "go.mod").write_text("module lab/toolchain\n")
    _patiently([found, "mod", "download", module], empty)
    top = Path(run([found, "env", "GOMODCACHE"]).strip()) / module
    for program in [*top.glob("bin/*"), *top.glob("pkg/tool/*/*")]:
        program.chmod(0o755)  # modules carry no executable files
    return str(top / "bin" / "go")
