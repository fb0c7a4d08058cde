# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What an inventory says of hosts that are pods: their names, addresses, networks and PostgreSQL, and what of it cannot be. Pure.

A node or a Barman that is a pod is one of a StatefulSet, which names its pods itself: PREFIX-0, PREFIX-1 and so on. A pgpool that
is one is a Deployment, whose pods have no names that stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..layout import DATA, WAL
from ..model import POD, Cluster, Node, Peer
from . import pod_secrets
from .hosts import network, placed, safe
from .variables import Host

# Everywhere: who a pod is says its certificate and its role, since its address says nothing.
ANYWHERE = ("0.0.0.0/0", "::/0")
# PostgreSQL's major version in the image of each Debian release, by the end of the image's tag.
RELEASES = {"trixie": 17, "bookworm": 15}
# That of the image that is taken where the user names none.
RELEASE = "trixie"
# A label of RFC 1035, which is what a Service may be called.
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAME = re.compile(r"(?P<prefix>.+)-(?P<number>0|[1-9][0-9]*)")
# Characters of a label; of a StatefulSet's name, whose label of a revision has eleven more; of a cluster's, with its services.
MOST, MOST_SET, MOST_CLUSTER = 63, 52, 57


def pods(hosts: Sequence[Host]) -> list[Host]:
    """Those of the *hosts* that are pods."""
    return [host for host in hosts if placed(host.variables) == POD]


def split(name: str) -> tuple[str, int] | None:
    """A StatefulSet and a number, of which the *name* of one of its pods is made; None where it is no such name."""
    found = _NAME.fullmatch(name)
    return (found["prefix"], int(found["number"])) if found else None


def namespace(values: Mapping[str, Any]) -> str:
    """The namespace of a cluster, by the *values* of all variables."""
    return str(values.get("cluster_namespace") or values.get("cluster_name") or "")


def address(host: Host, values: Mapping[str, Any]) -> str:
    """The name by which others reach the pod *host*: its own below its StatefulSet's service, a pgpool's service itself."""
    parts = [host.name, namespace(values), "svc", str(values.get("cluster_domain") or "cluster.local")]
    found = split(host.name)
    if found and "pgpool" not in host.groups:
        parts.insert(1, found[0])
    return ".".join(parts)


def networks(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Where pods are seen to come from."""
    return tuple(network(entry) for entry in values.get("cluster_pod_networks") or ANYWHERE)


def release(image: str) -> str:
    """The Debian release by the tag of an *image*, as in pgherd:1.0.0-trixie; '' where it does not say one of RELEASES."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    found = tag.rpartition("-")[2]
    return found if found in RELEASES else ""


def pod_problems(hosts: Sequence[Host], values: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that the pods among the *hosts* cannot be. *values*: of all variables."""
    wanted = pods(hosts)
    counted = [f"{host.name}: {wrong}" for host in hosts for wrong in _replicas(host)]
    if not wanted:
        return [*counted, *pod_secrets.problems((), (), values)]
    others = [host.name for host in hosts if host not in wanted]
    if others:
        return [
            f"{', '.join(host.name for host in wanted)}: place is pod, and {', '.join(others)} run on hosts; a cluster of both "
            "cannot be made yet, so set the same place for all."
        ]
    return [
        *counted,
        *_cluster_name(values),
        *(f"{host.name}: {wrong}" for host in wanted for wrong in _own(host)),
        *_sets(wanted),
        *_services(wanted, values),
        *_version(values),
        *_directories(values),
        *pod_secrets.problems([host.name for host in wanted], _prefixes(wanted), values),
    ]


def _replicas(host: Host) -> Iterator[str]:
    given = host.variables.get("replicas")
    if given in (None, ""):
        return
    if "pgpool" not in host.groups or placed(host.variables) != POD:
        yield "replicas is for a pgpool of place pod; take it out."
    elif isinstance(given, bool) or not re.fullmatch(r"[1-9][0-9]{0,3}", str(given)):
        yield f"replicas is a whole number from 1 up, not {safe(str(given))}; mend it."


def _cluster_name(values: Mapping[str, Any]) -> Iterator[str]:
    name = str(values.get("cluster_name"))
    if not _LABEL.fullmatch(name) or len(name) > MOST_CLUSTER:
        yield (
            f"cluster_name {safe(name)}: services of pods are called by it, so it begins with a letter, is lower-case letters, "
            f"digits and -, and has at most {MOST_CLUSTER} characters; choose another."
        )
    given = namespace(values)
    if given != name and (not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", given) or len(given) > MOST):
        yield (
            f"cluster_namespace {safe(given)} is not a namespace's name, which is lower-case letters, digits and -; mend it."
        )


def _own(host: Host) -> Iterator[str]:
    """What is wrong with one pod by itself."""
    if host.variables.get("ip"):
        yield "a pod has no ip that stays; take it out, and name the networks of pods in cluster_pod_networks."
    found = split(host.name)
    if "pgpool" in host.groups:
        if not _LABEL.fullmatch(host.name) or len(host.name) > MOST:
            yield (
                f"a pgpool of place pod is called as its service is, by lower-case letters, digits and -, {MOST} at most; "
                "rename it."
            )
    elif found is None or not _LABEL.fullmatch(found[0]):
        yield (
            "a pod is called PREFIX-NUMBER, as pg-0, pg-1 and so on, with lower-case letters, digits and - before the number; "
            "rename it."
        )
    elif len(found[0]) > MOST_SET or len(host.name) > MOST:
        yield f"what is before a pod's number has at most {MOST_SET} characters; rename it."


def _sets(wanted: Sequence[Host]) -> Iterator[str]:
    """What is wrong with the pods of one prefix together."""
    sets: dict[str, dict[int, str]] = {}
    for host in wanted:
        found = split(host.name)
        if found and "pgpool" not in host.groups:
            sets.setdefault(found[0], {})[found[1]] = ", ".join(host.groups)
    for prefix, numbers in sets.items():
        kinds = sorted(set(numbers.values()))
        if len(kinds) > 1:
            yield f"{prefix}-*: pods of one prefix are of one kind, and these are of {' and '.join(kinds)}; rename some."
        missing = sorted(set(range(len(numbers))) - set(numbers))
        if missing:
            yield (
                f"{prefix}-*: pods are numbered from 0 up without a gap, and there is no {prefix}-{missing[0]}; rename them, or "
                "add it."
            )


def _prefixes(wanted: Sequence[Host]) -> list[str]:
    """The StatefulSets of the pods."""
    named = [host for host in wanted if "pgpool" not in host.groups]
    return list(dict.fromkeys(found[0] for host in named if (found := split(host.name))))


def _services(wanted: Sequence[Host], values: Mapping[str, Any]) -> Iterator[str]:
    """Two services of one name."""
    cluster = str(values.get("cluster_name"))
    owners = {f"{cluster}-write": ["the service of the primary"], f"{cluster}-read": ["the service of standbys"]}
    for prefix in _prefixes(wanted):
        owners.setdefault(prefix, []).append(f"the pods {prefix}-*")
    for host in wanted:
        if "pgpool" in host.groups:
            owners.setdefault(host.name, []).append(f"the pgpool {host.name}")
    for name, named in owners.items():
        if len(named) > 1:
            yield f"{' and '.join(named)}: both would have the service {name}; rename one."


def _version(values: Mapping[str, Any]) -> Iterator[str]:
    image, asked = str(values.get("cluster_image") or ""), values.get("cluster_postgres_version") or 0
    has = RELEASES.get(release(image) if image else RELEASE, 0)
    if not has and not asked:
        yield (
            f"cluster_image {safe(image)}: its tag ends in none of {', '.join(RELEASES)}, so it is not known which PostgreSQL it "
            "has; say it in cluster_postgres_version."
        )
    elif has and asked and has != asked:
        yield (
            f"cluster_postgres_version is {asked}, and cluster_image {image or 'of this release'} has {has}; take an image of "
            "that version, or take the variable out."
        )


def _directories(values: Mapping[str, Any]) -> Iterator[str]:
    """Directories that are on no claim: they are gone with the pod, or cannot be written to."""
    own_claim = bool(values.get("cluster_wal_storage_size"))
    given = {
        "cluster_data_directory": (values.get("cluster_data_directory"), DATA),
        "cluster_wal_directory": (values.get("cluster_wal_directory"), WAL if own_claim else DATA),
        **{
            f"cluster_tablespaces: the location of {item.get('name')}": (item.get("location"), DATA)
            for item in values.get("cluster_tablespaces") or ()
        },
    }
    for variable, (path, claim) in given.items():
        if path and not str(path).startswith(f"{claim}/"):
            yield f"{variable}, {path}, is not below {claim}, where a pod's claim is; choose a directory there."
    if own_claim and not values.get("cluster_wal_directory"):
        yield f"cluster_wal_storage_size: set cluster_wal_directory too, to a directory below {WAL}, where that claim is."
    barman = str(values.get("cluster_barman_directory") or "/var/lib/barman")
    if barman != "/var/lib/barman" and not barman.startswith("/var/lib/barman/"):
        yield f"cluster_barman_directory, {barman}, is not in /var/lib/barman, where a pod's claim is; choose a directory there."


def names(cluster: Cluster, host: Peer) -> list[str]:
    """All names by which the pod *host* is reached from anywhere in Kubernetes, the services of a node's cluster among them."""
    labels = host.address.split(".")
    if labels[0] != host.name or len(labels) < 4:
        # The user's own address.
        return [host.name, host.address]
    found = _ways(labels)
    if isinstance(host, Node):
        found += [name for service in ("write", "read") for name in _ways([f"{cluster.name}-{service}", *labels[2:]])]
    return found


def _ways(labels: Sequence[str]) -> list[str]:
    """A name without more and more of what is behind it; not with a part of the domain."""
    domain = labels.index("svc") + 1 if "svc" in labels else len(labels)
    return [".".join(labels[:count]) for count in range(1, domain + 1)] + [".".join(labels)]
