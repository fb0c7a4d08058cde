# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A cure is data; the place of its host says what is typed there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pgherd.model import POD
from pgherd.options import Options
from pgherd.places.words import words_of
from pgherd.ports.services import AGENT, PGPOOL, POSTGRES, RECEIVER, REPMGRD
from pgherd.status.problem import SITE, START, STOP, Cure, log, psql, restart, server_log, wipe
from world import CLUSTER, healthy

H = healthy()


@pytest.mark.parametrize(
    ("cure", "command"),
    [
        (SITE, "ansible-playbook pgherd.cluster.site"),
        (wipe("pg2"), """ansible-playbook pgherd.cluster.site -e '{"cluster_wipe": ["pg2"]}'"""),
        (psql("pg1", "SELECT 1"), 'sudo -u postgres psql -c "SELECT 1"'),
        (Cure("pgherd status", "pg1"), "pgherd status"),
        (Cure(POSTGRES, "pg1", STOP, version="17"), "pg_ctlcluster 17 main stop"),
        (Cure(POSTGRES, "pg1", START), "systemctl start postgresql"),
        (restart(PGPOOL, "pool1"), "systemctl restart pgpool2"),
        (restart(REPMGRD, "pg1"), "systemctl restart repmgrd"),
        (restart(RECEIVER, "backup1"), "systemctl restart barman-receive-wal.service"),
        (server_log(H, "pg1", 0), "tail -n 0 -F /var/log/postgresql/postgresql-17-main.log"),
        (server_log(H, "pg1"), "tail -n 50 /var/log/postgresql/postgresql-17-main.log"),
        (log(POSTGRES, "pg1"), "tail -n 50 /var/log/postgresql/*.log"),
        (log(AGENT, "pg1", 20), "journalctl -u pgherd-agent -n 20"),
    ],
)
def test_on_a_host(cure: Cure, command: str) -> None:
    assert words_of(CLUSTER)(cure) == command


@pytest.mark.parametrize(
    ("cure", "command"),
    [
        (SITE, "ansible-playbook pgherd.cluster.site"),
        (psql("pg1", "SELECT 1"), 'kubectl -n demo exec pg1 -- psql -c "SELECT 1"'),
        (Cure("pgherd status", "pg1"), "kubectl -n demo exec pg1 -- pgherd status"),
        (Cure(POSTGRES, "pg1", STOP, version="17"), "kubectl -n demo exec pg1 -- pgherd service stop postgres"),
        (restart(REPMGRD, "pg1"), "kubectl -n demo exec pg1 -- pgherd service restart repmgrd"),
        (log(POSTGRES, "pg1", 0), "kubectl -n demo logs pg1 --follow --tail=0"),
        (log(AGENT, "pg1", 20), "kubectl -n demo logs pg1 --tail=20"),
        (restart(REPMGRD, "pg2"), "systemctl restart repmgrd"),
        (restart(PGPOOL, "pool1"), "kubectl -n demo exec deploy/pool1 -- pgherd service restart pgpool"),
        (log(PGPOOL, "pool1", 20), "kubectl -n demo logs deploy/pool1 --tail=20"),
        (restart(RECEIVER, "backup1"), "kubectl -n demo exec backup1 -- pgherd service restart barman-receiver"),
    ],
)
def test_where_some_are_pods(cure: Cure, command: str) -> None:
    nodes = tuple(replace(node, place=POD) if node.name == "pg1" else node for node in CLUSTER.nodes)
    pools = tuple(replace(pool, place=POD) for pool in CLUSTER.pgpools)
    barmans = tuple(replace(host, place=POD) for host in CLUSTER.barmans)
    found = replace(CLUSTER, nodes=nodes, pgpools=pools, barmans=barmans)
    assert words_of(found)(cure) == command
    elsewhere = replace(found, options=Options(namespace="db"))
    assert words_of(elsewhere)(cure) == command.replace("-n demo", "-n db")
