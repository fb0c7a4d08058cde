# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The user's part of a pod's template: merged in, and judged by what it makes of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# By what entries of a list are told apart, the first that all have.
_KEYS = ("mountPath", "name")
VARIABLE = "cluster_pod_template"


def merged(base: Any, given: Any) -> Any:
    """*base* with what is *given*: dictionaries are merged, lists whose entries have names by them, all else is replaced."""
    if isinstance(base, Mapping) and isinstance(given, Mapping):
        return {
            **base,
            **{str(key): merged(base[key], value) if key in base else value for key, value in given.items()},
        }
    if isinstance(base, Sequence) and isinstance(given, Sequence) and not isinstance(base, str) and base:
        key = next((one for one in _KEYS if all(_has(entry, one) for entry in (*base, *given))), "")
        if key:
            return _by(key, base, given)
    return given


def _has(entry: Any, key: str) -> bool:
    return isinstance(entry, Mapping) and key in entry


def _by(key: str, base: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    mine = {entry[key]: entry for entry in given}
    found = [merged(entry, mine.pop(entry[key])) if entry[key] in mine else entry for entry in base]
    return [*found, *mine.values()]


def weaknesses(template: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing in a pod's *template* that restricted Pod Security forbids."""
    return [f"{VARIABLE}: {wrong}; take it out." for wrong in dict.fromkeys(_of_pod(template.get("spec") or {}))]


def _of_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} lets the pod see its machine"
    if spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken gives every container the API server's token"
    for volume in spec.get("volumes") or ():
        if "hostPath" in volume:
            yield f"volume {volume.get('name')} is a directory of the machine"
    pod = spec.get("securityContext") or {}
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        yield from _of_container(pod, container)


def _of_container(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    name, own = container.get("name"), container.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
        yield f"container {name} may become more than it is (privileged, allowPrivilegeEscalation)"
    if "ALL" not in (capabilities.get("drop") or ()) or set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"container {name} has capabilities"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True or own.get("runAsUser", pod.get("runAsUser")) == 0:
        yield f"container {name} may run as root"
    if (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in (
        "RuntimeDefault",
        "Localhost",
    ):
        yield f"container {name} has no seccomp profile"
    if own.get("procMount", "Default") != "Default":
        yield f"container {name} sees all of /proc"
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield f"container {name} takes a port of the machine"
