# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a cluster in pods needs before its inventory is applied, and its end: a Kubernetes, and the image in it.

scene.py up NAME                    the lab's Kubernetes where KUBECONFIG names none, and localhost/pgherd:NAME-trixie in it
scene.py env                        what to export so that kubectl and playbooks reach it
scene.py down NAME NAMESPACE        remove the namespace, and the lab's Kubernetes where ``up NAME`` has started it
scene.py dsn INVENTORY [nodes]      libpq's line through pgpool, or to the write service, where these are NodePorts
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cluster
import control
import loading
import network
import nodes
import pod_image
import state
from machine import CHECKOUT, LAB, LabError, install_packages, say

RELEASE = "trixie"


def up(name: str) -> None:
    """A Kubernetes with the image of this checkout. Raises LabError."""
    if state.others():
        image = pod_image.reference(RELEASE, f"{name}-{RELEASE}")
        say(f"KUBECONFIG is {state.others()}: {image} has to be in its nodes (pod_image.py builds it)")
        return
    forget_which(name)
    with state.lock():
        if not state.settings() or not control.answers() or len(nodes.on()) < state.running().nodes:
            fresh = not state.settings()
            how = state.Settings() if fresh else replace(state.running(), programs={}, images={})
            cluster.up(how, anybodys=True)
            if fresh:
                _whose().write_text(_mark(name))
    _link_kubectl()
    install_packages()
    built = pod_image.build(RELEASE, f"{name}-{RELEASE}")
    with state.lock():
        loading.load(built)


def forget_which(name: str) -> None:
    """Secrets that were kept stay of use: the lab's Kubernetes comes and goes, and playbooks take the next one for another's."""
    for secrets in (LAB / name / "secrets", CHECKOUT / "examples" / name / ".pgherd" / name):
        (secrets / "kubernetes.json").unlink(missing_ok=True)


def _link_kubectl() -> None:
    """Where a scenario of molecule looks for it."""
    link, program = CHECKOUT / ".cache/kubernetes/kubectl", Path(state.running().program("kubectl"))
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(program)


def down(name: str, space: str) -> None:
    """No namespace, no secrets, and no Kubernetes that up() has started for *name*. Raises LabError."""
    shutil.rmtree(LAB / name, ignore_errors=True)
    if not state.others():
        if not state.settings():
            return
        with state.lock():
            if _whose().exists() and _whose().read_text() == _mark(name):
                cluster.down()
                return
        if not control.answers():
            return
        for node in nodes.on():
            network.heal(node)
    forget(name, space)


def forget(name: str, space: str) -> None:
    """Delete a namespace that the site playbook has made for the cluster *name*, and no other. Raises LabError."""
    ours = f"app.kubernetes.io/name=pgherd,app.kubernetes.io/instance={name}"
    words = ["delete", "namespaces", "-l", ours, f"--field-selector=metadata.name={space}", "--timeout=300s"]
    _kubectl(*words, "--ignore-not-found")


def _whose() -> Path:
    return state.STATE / "started-for"


def _mark(name: str) -> str:
    return f"{CHECKOUT} {name}\n"


def environment() -> dict[str, str]:
    """What kubectl and playbooks need to reach it: nothing more where the user has named one. Raises LabError."""
    if state.others():
        return {}
    programs = str(Path(state.running().program("kubectl")).parent)
    return {"KUBECONFIG": str(state.ADMIN), "PATH": f"{programs}:{os.environ['PATH']}"}


def _kubectl(*words: str) -> str:
    env = {**os.environ, **environment()}
    done = subprocess.run(["kubectl", *words], capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise LabError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _asked(*words: str) -> Any:
    return json.loads(_kubectl(*words, "-o", "json"))


def dsn(inventory: Path, way: str = "pgpool", user: str = "app") -> str:
    """libpq's line from outside, by the NodePort of a pgpool's or the write service on each of Kubernetes' machines; the libpq of
    a client takes the first that answers. Raises LabError."""

    import yaml  # which is there where a playbook has run

    described = yaml.safe_load(inventory.read_text(encoding="utf-8"))
    told = described["all"]["vars"]
    name, space = told["cluster_name"], told.get("cluster_namespace") or told["cluster_name"]
    service = f"{name}-write" if way == "nodes" else next(iter(described["pgpool"]["hosts"]))
    ports = _asked("-n", space, "get", "service", service)["spec"]["ports"]
    port = next((item.get("nodePort") for item in ports if item["name"] == "postgres"), None)
    if not port:
        raise LabError(f"the service {service} of {space} is no NodePort: cluster_services makes it one")
    machines = [
        address["address"]
        for machine in _asked("get", "nodes")["items"]
        for address in machine["status"]["addresses"]
        if address["type"] == "InternalIP"
    ]
    secrets = Path(told.get("cluster_secrets_directory") or inventory.parent / ".pgherd" / name).resolve()
    words = " target_session_attrs=read-write" if way == "nodes" else ""
    return (
        f"host={','.join([service] * len(machines))} hostaddr={','.join(machines)} port={port} dbname={user} user={user}"
        f" connect_timeout=3 sslmode=verify-full sslrootcert={secrets / 'ca.crt'} passfile={_passfile(secrets, user)}{words}"
    )


def _passfile(secrets: Path, user: str) -> Path:
    """A password file for libpq beside the passwords, readable by its owner only."""

    import yaml

    secret = yaml.safe_load((secrets / "passwords.yml").read_text(encoding="utf-8"))[user]
    escaped = secret.replace("\\", "\\\\").replace(":", "\\:")
    path = secrets / f"{user}.pgpass"
    path.touch(mode=0o600)
    path.write_text(f"*:*:*:{user}:{escaped}\n", encoding="utf-8")
    return path


def main() -> int:
    """Run one command; a failure is one line on standard error and exit code 1."""
    verbs: dict[str, Callable[..., object]] = {
        "up": up,
        "down": down,
        "env": lambda: print("\n".join(f"export {key}={shlex.quote(value)}" for key, value in environment().items())),
        "dsn": lambda path, way="pgpool": print(dsn(Path(path), way)),
    }
    if sys.argv[1:2] and sys.argv[1] in verbs:
        try:
            verbs[sys.argv[1]](*sys.argv[2:])
        except (LabError, OSError, KeyError) as error:
            print(f"lab: {error}", file=sys.stderr)
            return 1
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
