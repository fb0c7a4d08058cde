# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Pods on this machine, without Kubernetes: each is ``pgherd pod`` in a root file system of its own, an overlay over this one,
and all are in one network namespace, where each has an address. Nothing of this machine's own files is written."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from pgherd.model import POD, SYSTEM_ROLES, Cluster, Node, Origins
from pgherd.places.pod.record import serve
from pgherd.ports.initialization import NOBODY, Initialization, adopted, begun, ended
from pgherd.render.conf_cluster import text

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
# A directory with what this machine lacks, laid over its root: repmgr's package, say, as dpkg-deb --extract leaves it.
MORE = os.environ.get("PGHERD_TEST_MORE", "")
TREE = Path(__file__).resolve().parents[3]
PASSWORDS = {role: f"secret of {role}" for role in SYSTEM_ROLES}


def missing() -> str:
    """Why such pods cannot run here; '' where they can."""
    if PROGRAMS is None:
        return "PostgreSQL's programs are not installed here"
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "ip", "openssl"))):
        return "only root has namespaces of its own, with unshare, nsenter, ip and openssl"
    if not any(Path(f"{root}{PROGRAMS}/repmgr").exists() for root in ("", MORE)):
        return "repmgr is not installed here; PGHERD_TEST_MORE may name a directory that has it"
    return ""


def cluster() -> Cluster:
    """Three data nodes, in pods."""
    assert PROGRAMS is not None
    settings = {"shared_buffers": "8MB", "fsync": False, "max_connections": 40}

    def node(number: int) -> Node:
        own = {**settings, "listen_addresses": f"10.99.0.{number}"}
        upstream = "" if number == 1 else "pg-1"
        version = int(PROGRAMS.parent.name)  # type: ignore[union-attr]
        address = f"10.99.0.{number}"
        origins = Origins.of([address])
        return Node(
            f"pg-{number}",
            number,
            "postgres",
            address,
            upstream,
            settings=own,
            origins=origins,
            place=POD,
            version=version,
        )

    return Cluster("demo", tuple(map(node, (1, 2, 3))))


class FileRecord:
    """An InitializationRecord in a file, with a lock in the place of the API server's comparison."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Initialization:
        return self._change(lambda found: found)

    def begin(self, by: str) -> Initialization:
        return self._change(lambda found: begun(found, by))

    def end(self, by: str, system_id: str) -> Initialization:
        return self._change(lambda found: ended(found, by, system_id))

    def adopt(self, by: str, system_id: str) -> Initialization:
        return self._change(lambda found: adopted(found, by, system_id))

    def grow(self) -> Initialization:
        return self._change(lambda found: replace(found, grown=True))

    def _change(self, to):  # type: ignore[no-untyped-def]
        with self.path.open("a+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.seek(0)
            said = stream.read()
            found = to(Initialization(**json.loads(said)) if said else NOBODY)
            stream.truncate(0)
            stream.write(json.dumps(asdict(found)))
            return found


class Pods:
    """The pods of *cluster*, below *place*, where each has its claim."""

    def __init__(self, cluster: Cluster, place: Path) -> None:
        self.cluster, self.place = cluster, place
        self.record = FileRecord(place / "record")
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.api: dict[str, socket.socket] = {}
        self.ending: set[str] = set()
        self.place.chmod(0o755)
        (place / "config").mkdir()
        self.describe(cluster)
        self._certificates()
        addresses = "; ".join(f"ip address add {node.address}/32 dev lo" for node in cluster.nodes)
        script = f"ip link set lo up; {addresses}; echo up; exec sleep infinity"
        self.net = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE)
        assert self.net.stdout is not None
        assert self.net.stdout.readline() == b"up\n"

    def describe(self, cluster: Cluster) -> None:
        """Have the mounted description say that."""
        self.cluster = cluster
        new = self.place / "config/new"
        new.write_text(text(cluster))
        new.rename(self.place / "config/cluster.json")

    def _certificates(self) -> None:
        """A Secret."""
        there = self.place / "secrets"
        there.mkdir()
        (there / "passwords.json").write_text(json.dumps(PASSWORDS))

        def openssl(*words: str) -> None:
            subprocess.run(["openssl", *words], cwd=there, check=True, capture_output=True)

        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *kind, "-subj", "/CN=test", "-days", "2", "-keyout", "../ca.key", "-out", "ca.crt")
        for node in self.cluster.nodes:
            (self.place / "extensions").write_text(f"subjectAltName = IP:{node.address},DNS:{node.name}\n")
            openssl("req", *kind, "-subj", f"/CN={node.name}", "-keyout", f"{node.name}.key", "-out", "../csr")
            openssl(
                *(
                    "x509",
                    "-req",
                    "-in",
                    "../csr",
                    "-CA",
                    "ca.crt",
                    "-CAkey",
                    "../ca.key",
                    "-CAcreateserial",
                    "-days",
                    "2",
                ),
                *("-CAserial", "../serial", "-extfile", "../extensions", "-out", f"{node.name}.crt"),
            )
        for path in there.iterdir():
            path.chmod(0o644)

    def start(self, name: str) -> None:
        """Start a pod anew: its claim is what it was, and nothing else is."""
        here = self.place / name
        for folder in ("claim", "api", "overlay"):
            (here / folder).mkdir(parents=True, exist_ok=True)
        shutil.chown(here / "claim", "postgres", "postgres")
        (here / "api").chmod(0o777)
        if name not in self.api:
            self.api[name] = serve(self.record, lambda: self.ending, f"{here}/api/api")
            (here / "api/api").chmod(0o666)
        launcher = f"#!{sys.executable} -I\nimport sys\nsys.path.insert(0, {str(TREE / 'plugins/module_utils')!r})\n"
        launcher += "from pgherd.cli import main\nsys.exit(main())\n"
        more = f"cp -a {MORE}/. up" if MORE else ""
        script = f"""set -e
mount -t tmpfs none {here}/overlay
cd {here}/overlay
mkdir up work root
{more}
mount -t overlay overlay -o lowerdir=/,upperdir=$PWD/up,workdir=$PWD/work root
cd root
mkdir -p config secrets run/pgherd run/pgherd-api etc/pgherd etc/repmgr var/log/postgresql var/lib/postgresql
rm -rf etc/postgresql/* var/lib/postgresql/* run/postgresql/* run/pgherd/*
chown postgres: run/pgherd etc/pgherd etc/repmgr etc/postgresql var/log/postgresql run/postgresql
chmod 755 root
cat > usr/bin/pgherd <<'END'
{launcher}END
chmod 755 usr/bin/pgherd
mount --bind {self.place}/config config
mount --bind {self.place}/secrets secrets
mount --bind {here}/claim var/lib/postgresql
mount --bind {here}/api run/pgherd-api
for shared in proc dev {TREE.parts[1]}; do mkdir -p $shared; mount --rbind /$shared $shared; done
chroot --userspec=postgres:postgres . /usr/bin/pgherd own --host {name}
exec chroot --userspec=postgres:postgres . /usr/bin/pgherd pod --host {name} --limit 10
"""
        argv = ["nsenter", f"--net=/proc/{self.net.pid}/ns/net", "unshare", "--mount", "--propagation", "private"]
        env = {"PATH": os.environ["PATH"], "PGHERD_PLACE": POD, "LC_ALL": "C.UTF-8", "HOME": "/var/lib/postgresql"}
        with (here / "log").open("ab") as log:
            self.running[name] = subprocess.Popen([*argv, "sh", "-c", script], stdout=log, stderr=log, env=env)

    def log(self, name: str) -> str:
        """All that the pod has said."""
        path = self.place / name / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def run(self, name: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program in a pod, as ``kubectl exec`` does."""
        into = ["nsenter", "-t", str(self.running[name].pid), "--mount", "--net", "--root", "--wd"]
        who = pwd.getpwnam("postgres")
        env = {"PATH": "/usr/bin:/bin", "PGHERD_PLACE": POD, "LC_ALL": "C.UTF-8", "HOME": "/var/lib/postgresql"}
        as_ = ["--setuid", str(who.pw_uid), "--setgid", str(who.pw_gid)]
        return subprocess.run([*into, *as_, *argv], capture_output=True, text=True, env=env, timeout=120, check=False)

    def sql(self, name: str, statement: str) -> str:
        """What the server in a pod answers; '' where it does not."""
        assert PROGRAMS is not None
        argv = (f"{PROGRAMS}/psql", "-XAtq", "-U", "postgres", "-c", statement, "postgres")
        return self.run(name, *argv).stdout.strip() if name in self.running else ""

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End a pod, by SIGTERM or without a word."""
        process = self.running.pop(name)
        if number == signal.SIGKILL:
            self._kill(process.pid)
        process.send_signal(number)
        process.wait(60)

    def _kill(self, pid: int) -> None:
        # What ends meanwhile has no children any more.
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                self._kill(int(child))
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)

    def close(self) -> None:
        """End all, and leave nothing."""
        for name in list(self.running):
            self.running[name].send_signal(signal.SIGTERM)
        for name in list(self.running):
            self.running.pop(name).wait(60)
        for listener in self.api.values():
            listener.close()
        self.net.kill()
        self.net.wait(10)
