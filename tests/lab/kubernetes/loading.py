# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Images into nodes of the lab's Kubernetes: of each only the layers that a node lacks, so that a changed core takes a second."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import nodes
from machine import LabError, podman

_OCI = "application/vnd.oci.image"
_CTR = ("ctr", "-n", "k8s.io")


def load(image: str, among: Iterable[int] = ()) -> None:
    """Put an image of podman's, or an archive of ``podman save``, into nodes: those *among* all, or all that are on. Raises
    LabError."""
    wanted = list(among) or nodes.on()
    if not wanted:
        raise LabError(f"load {image}: no node is on")
    with tempfile.TemporaryDirectory(prefix="pgherd-kubernetes-") as directory, ThreadPoolExecutor(len(wanted)) as pool:
        archive, thin = Path(image).resolve(), Path(directory) / "thin.tar"
        if not archive.is_file():
            archive = Path(directory) / "image.tar"
            podman("save", "--quiet", "--format", "docker-archive", "--output", str(archive), image)
        has = pool.map(lambda node: nodes.inside(node, *_CTR, "content", "ls", "--quiet").split(), wanted)
        without(archive, thin, set.intersection(*map(set, has)))
        list(pool.map(lambda node: nodes.inside(node, *_CTR, "images", "import", str(thin)), wanted))


def without(archive: Path, wanted: Path, known: Collection[str]) -> None:
    """From an *archive* of ``podman save`` (docker-archive) an OCI layout without the layers *known*, by digest. Raises
    LabError."""
    with tarfile.open(archive) as given, tarfile.open(wanted, "w") as made:

        def blob(content: bytes) -> dict[str, object]:
            digest = hashlib.sha256(content).hexdigest()
            _add(made, f"blobs/sha256/{digest}", io.BytesIO(content), len(content))
            return {"digest": f"sha256:{digest}", "size": len(content)}

        images = json.loads(_read(given, archive, "manifest.json"))
        described = []
        for image in images:
            settings = _read(given, archive, image["Config"])
            layers = []
            for path, digest in zip(image["Layers"], json.loads(settings)["rootfs"]["diff_ids"]):
                stream = given.extractfile(path)  # follows links
                size = stream.seek(0, io.SEEK_END)
                stream.seek(0)
                layers.append({"mediaType": f"{_OCI}.layer.v1.tar", "digest": digest, "size": size})
                if digest not in known:
                    _add(made, f"blobs/{digest.replace(':', '/')}", stream, size)
            manifest = {
                "schemaVersion": 2,
                "mediaType": f"{_OCI}.manifest.v1+json",
                "layers": layers,
                "config": {"mediaType": f"{_OCI}.config.v1+json", **blob(settings)},
            }
            written = {"mediaType": f"{_OCI}.manifest.v1+json", **blob(json.dumps(manifest).encode())}
            described += [{**written, "annotations": {"io.containerd.image.name": tag}} for tag in image["RepoTags"]]
        for name, content in (
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ("index.json", {"schemaVersion": 2, "manifests": described}),
        ):
            text = json.dumps(content).encode()
            _add(made, name, io.BytesIO(text), len(text))


def _read(given: tarfile.TarFile, archive: Path, name: str) -> bytes:
    try:
        return given.extractfile(name).read()
    except KeyError as error:
        raise LabError(
            f"{os.fsdecode(archive.name or '')} is no archive of podman save --format docker-archive: it has no {name}"
        ) from error


def _add(made: tarfile.TarFile, name: str, content: BinaryIO, size: int) -> None:
    item = tarfile.TarInfo(name)
    item.size = size
    made.addfile(item, content)
