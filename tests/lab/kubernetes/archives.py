# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Images that every node of the lab's Kubernetes has from its start, as archives of one layer each. No registry.

They lie beside the programs, under names that change with what is in them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import images
from machine import LabError, podman, run, say
from programs import CACHE

PREFIX = "localhost/pgherd-kubernetes"
DEBIAN = "debian"
TOOLS = ("python3", "iproute2", "procps", "ca-certificates")  # in the image that tests look out of


def paths(programs: Mapping[str, str]) -> dict[str, str]:
    """All archives by name, made where they are missing. Raises LabError."""
    init = shutil.which("catatonit")
    if not init:
        raise LabError("catatonit is not installed")
    provisioner = programs["local-path-provisioner"]
    return {
        "pause": _of_program("pause", init, ["/pause", "-P"]),
        "coredns": _of_program("coredns", programs["coredns"], ["/coredns"]),
        "local-path-provisioner": _of_program("local-path-provisioner", provisioner, []),
        DEBIAN: str(debian("trixie", TOOLS, f"{PREFIX}/{DEBIAN}:1")),
    }


def _of_program(name: str, program: str, entrypoint: list[str]) -> str:
    """An archive with nothing but a static program in it."""
    content = Path(program).read_bytes()
    wanted = _place(name, [hashlib.sha256(content).hexdigest(), *entrypoint])
    if not wanted.exists():
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            item = tarfile.TarInfo(name)
            item.size, item.mode = len(content), 0o755
            tar.addfile(item, io.BytesIO(content))
        write(wanted, layer.getvalue(), f"{PREFIX}/{name}:1", {"Entrypoint": entrypoint})
    return str(wanted)


def debian(release: str, packages: Iterable[str], name: str) -> Path:
    """An archive of Debian's smallest variant with *packages*, made by mmdebstrap, for an image called *name*."""
    packages = sorted(packages)
    wanted = _place(f"debian-{release}", [name, *packages, *images.sources(release)])
    if not wanted.exists():
        say(f"building {name} with mmdebstrap (a minute, once)")
        wanted.parent.mkdir(parents=True, exist_ok=True)
        root = wanted.with_suffix(".root")
        include = [f"--include={','.join(packages)}"] if packages else []
        # As in Debian's official images: pages that nobody reads in a container are left out, licences are kept.
        skip = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "info", "doc", "locale")]
        keep = "--dpkgopt=path-include=/usr/share/doc/*/copyright"
        words = ["mmdebstrap", "--quiet", "--variant=minbase", *include, *skip, keep, release, str(root)]
        run(["nice", "-n", "19", *words, "--format=tar", *images.sources(release)])
        write(wanted, root.read_bytes(), name, {"Cmd": ["bash"]})
        root.unlink()
    return wanted


def tag_debian(release: str) -> None:
    """See to it that podman has an image debian:RELEASE, as a Containerfile names it, without a registry."""
    name = f"localhost/debian:{release}"
    if (
        podman("images", "--quiet", name).strip()
        or podman("images", "--quiet", f"docker.io/library/debian:{release}").strip()
    ):
        return
    podman("load", "--quiet", "--input", str(debian(release, (), name)))


def _place(name: str, parts: list[str]) -> Path:
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    return CACHE / "images" / f"{name}-{digest}.tar"


def write(wanted: Path, layer: bytes, name: str, how: Mapping[str, object]) -> None:
    """An image of one layer as ``docker save`` writes it, which podman and containerd read. *how*: entry point and the like,
    by Docker's names."""
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Env": [f"PATH={_PATH}"], **how},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "pgherd's lab"}],  # podman builds on no image whose layers have none
    }
    described = json.dumps(config).encode()
    settings = f"{hashlib.sha256(described).hexdigest()}.json"
    manifest = [{"Config": settings, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]
    wanted.parent.mkdir(parents=True, exist_ok=True)
    unfinished = wanted.with_suffix(f".{os.getpid()}")
    with tarfile.open(unfinished, "w") as tar:
        parts = {settings: described, f"{digest}/layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}
        for path, content in parts.items():
            item = tarfile.TarInfo(path)
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    unfinished.replace(wanted)


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
