# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Which Kubernetes is reached, and which one a cluster was last given to, kept beside its secrets. **PRIVATE**.

Asked by kubectl, which pods are reached by too, with one request, and with an end: playbooks that tell of a cluster must not hang
where no API server answers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import ConfigError, PgherdError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.inventory.pods import namespace
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.pod.objects.whereabouts import (
    SYSTEM,
    Whereabouts,
    is_told,
    moved,
    remembered,
)
from ansible_collections.pgherd.cluster.plugins.plugin_utils._pods import names, values
from ansible_collections.pgherd.cluster.plugins.plugin_utils._private import PrivateDirectory
from ansible_collections.pgherd.cluster.plugins.plugin_utils._specification import given

FILE = "kubernetes.json"
# Seconds that one answer may take, and kubectl with whatever it calls to log in.
REQUEST, PATIENCE = 10, 30


class Kept:
    """What is known of the whereabouts of the cluster of a task with *variables*, which has a pod. Raises ConfigError."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        said = values(variables, "cluster_name", "cluster_namespace", "cluster_kubeconfig", "cluster_kube_context")
        self._cluster, self._namespace = str(said["cluster_name"]), str(namespace(said))
        self._context = str(said["cluster_kube_context"] or "")
        ways = {"--kubeconfig": said["cluster_kubeconfig"], "--context": self._context}
        self._words = [f"{word}={value}" for word, value in ways.items() if value]
        self._place = _directory(variables["hostvars"][names(variables)[0]])

    def check(self) -> None:
        """Raise ConfigError where another Kubernetes is reached than the cluster is in."""
        before = self._before()
        now = Whereabouts(self._uid(SYSTEM) or None, self._namespace, None)
        if not is_told(before, now):
            now = Whereabouts(now.system, now.namespace, self._uid(self._namespace))
        kept = os.path.join(os.path.abspath(os.path.expanduser(self._place)), FILE)
        if moved(before, now, self._cluster, kept):
            now = Whereabouts(now.system, now.namespace, now.uid, self._called())
            raise ConfigError([moved(before, now, self._cluster, kept)])

    def remember(self, forecast: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Keep which Kubernetes it is: what was kept before, and what is from now on, each empty where that is nothing. With
        *forecast* nothing is written. Raises PgherdError."""
        before = self._before()
        uids = self._uid(SYSTEM) or None, self._uid(self._namespace)
        after = before
        # Who may read neither goes by what the API server lets him do.
        if any(uids):
            after = remembered(before, Whereabouts(uids[0], self._namespace, uids[1], self._called()))
        if after and after != before and not forecast:
            PrivateDirectory(self._place).write(FILE, json.dumps(after.to_dict(), indent=1) + "\n")
        return before.to_dict() if before else {}, after.to_dict() if after else {}

    def _before(self) -> Whereabouts | None:
        try:
            text = PrivateDirectory(self._place, forecast=True).read(FILE)
        except PgherdError:
            # Not everybody who asks how a cluster is may read there. Where that is wrong, role cluster says so.
            return None
        try:
            return Whereabouts.from_dict(json.loads(text)) if text else None
        except (ValueError, KeyError, TypeError) as error:
            where = os.path.join(self._place, FILE)
            raise ConfigError(
                [f"{where} does not say which Kubernetes the cluster is in; take the file away."]
            ) from error

    def _uid(self, name: str) -> str | None:
        """The UID of the namespace called *name*: '' where there is none, None where nobody says."""
        rc, out, err = self._kubectl("get", "--raw", f"/api/v1/namespaces/{name}", f"--request-timeout={REQUEST}s")
        return uid(rc, out, err)

    def _called(self) -> str:
        """The context that is used."""
        rc, out, _err = (0, self._context, "") if self._context else self._kubectl("config", "current-context")
        return out.strip() if rc == 0 else ""

    def _kubectl(self, *words: str) -> tuple[int, str, str]:
        argv = ["kubectl", *self._words, *words]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
            return 1, "", str(error)
        return done.returncode, done.stdout, done.stderr


def uid(rc: int, out: str, err: str) -> str | None:
    """The UID of a namespace by what ``kubectl get --raw`` said of it: '' where there is none, None where nobody says. Pure."""
    if rc:
        return "" if err.startswith("Error from server (NotFound)") else None
    try:
        return str(json.loads(out)["metadata"]["uid"])
    except (ValueError, KeyError, TypeError):
        return None


def _directory(mine: Mapping[str, Any]) -> str:
    """Where the cluster's secrets are, by the variables of one of its hosts. A default of a role is known to its own tasks alone,
    and this is asked in plays that have none."""
    said = str(given(mine, "cluster_secrets_directory"))
    default = {"inventory_dir": mine.get("inventory_dir"), "cluster_name": given(mine, "cluster_name")}
    for name, value in default.items():
        said = said.replace("{{ " + name + " }}", str(value))
    return said
