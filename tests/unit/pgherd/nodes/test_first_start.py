# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""With PostgreSQL's own programs: data on which no server has run are known for that, and so is a copy that was broken off."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from here import here_of
from pgherd.data import clone, datadir, incarnation, unfinished
from pgherd.errors import PgherdError
from pgherd.nodes import instance
from pgherd.nodes.directory_state import look
from pgherd.nodes.instance_apply import InstanceExecutor
from pgherd.options import Options
from pgherd.ports.here import Here
from pgherd.ports.run import Result
from pgherd.programs.postgres import control_data
from states import cluster

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
AS = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL's programs are not installed here")


class Programs:
    """A runner of the real programs."""

    def run(self, argv: list[str], **_: Any) -> Result:
        done = subprocess.run(argv, capture_output=True, text=True, input="", check=False, **AS)  # type: ignore[call-overload]
        return Result(tuple(argv), done.returncode, done.stdout, done.stderr)


def place_of(base: Path) -> Here:
    """The first primary, with its data below *base*."""
    assert PROGRAMS is not None
    options = Options.of({"data_directory": f"{base}/main", "wal_directory": f"{base}/wal", "locale": "C"})
    return here_of(cluster(3, options=options), "pg1", runner=Programs(), version=int(PROGRAMS.parent.name))


@pytest.fixture(scope="module")
def template() -> Iterator[Here]:
    """Where initdb has made data by the plan's step."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base, pytest.MonkeyPatch.context() as patch:
        Path(base).chmod(0o755)
        patch.setattr(incarnation, "FILE", f"{base}/note")
        if not AS:
            patch.setattr(clone, "OWNER", pwd.getpwuid(os.geteuid()).pw_name)
        found = place_of(Path(base))
        InstanceExecutor(found).initialize()
        assert datadir.local(found.layout, found.runner).fresh
        yield found


@pytest.fixture
def here(template: Here) -> Iterator[Here]:
    """What says whose the same data are and how they stand, anew, and noted as it was there."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o755)
        theirs, data = Path(template.layout.data), Path(base) / "main"
        for name in ("PG_VERSION", "global/pg_control"):
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(theirs / name, data / name)
        (data / "pg_wal").mkdir()
        for segment in (theirs / "pg_wal").glob("0*"):
            (data / "pg_wal" / segment.name).write_bytes(segment.open("rb").read(8192))
        if AS:
            for path in (data, *data.rglob("*")):
                shutil.chown(path, "postgres", "postgres")
        yield noted(place_of(Path(base)))


def noted(here: Here) -> Here:
    """The same, where initdb has made the data here."""
    incarnation.initialized(here.layout.data, datadir.made(control_data(here.layout, here.runner)))
    return here


def test_data_on_which_no_server_has_run(template: Here) -> None:
    """A server makes another state of them before it lets anybody in, and writes a checkpoint when it ends."""

    def look() -> datadir.Local:
        return datadir.local(here.layout, here.runner)

    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o755)
        subprocess.run(["cp", "-aL", template.layout.data, f"{base}/main"], check=True)
        here = noted(place_of(Path(base)))
        first = look()
        assert (first.fresh, first.state) == (True, "shut down")
        # Alone, and for no client.
        argv = [f"{PROGRAMS}/postgres", "--single", "-D", here.layout.data, "-F", "postgres"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **AS) as server:  # type: ignore[call-overload]
            assert server.stdout.read(1), "it waits for a statement"
            server.kill()
        assert (look().fresh, look().state) == (False, "in production")
        Programs().run(argv).expect("run on the data")
        found = look()
        assert (found.fresh, found.state, found.system_id) == (False, "shut down", first.system_id)
        assert found.checkpoint > first.checkpoint


def test_what_is_told_of_them(here: Here) -> None:
    mine = incarnation.current(here.layout.data).id
    found = look(here)
    assert (found.kind, found.fresh, found.timeline, found.incarnation, found.running) == (
        "cluster",
        True,
        1,
        mine,
        False,
    )
    assert found.system_identifier == control_data(here.layout, here.runner)["Database system identifier"]


@pytest.mark.parametrize("where", ["elsewhere", "in its place"])
def test_a_copy_of_them_is_nothing_new(here: Here, where: str) -> None:
    data, copy = Path(here.layout.data), Path(f"{here.layout.data}.copy")
    subprocess.run(["cp", "-a", str(data), str(copy)], check=True)
    if where == "in its place":
        data.rename(f"{data}.aside")
        copy.rename(data)
        copy = data
    moved = here_of(here.cluster, "pg1", runner=here.runner, version=here.layout.version, data=str(copy))
    assert not datadir.local(moved.layout, moved.runner).fresh


def test_a_note_that_cannot_be_read_stops_no_other_data(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read before each start of what is no standby."""
    assert datadir.local(here.layout, here.runner).fresh
    monkeypatch.setattr(incarnation, "FILE", os.path.dirname(here.layout.data))
    assert not datadir.local(here.layout, here.runner).fresh


@pytest.mark.parametrize("name", [datadir.SIGNAL, datadir.RESTORE])
def test_what_is_to_recover_is_nothing_new(here: Here, name: str) -> None:
    (Path(here.layout.data) / name).touch()
    assert not datadir.local(here.layout, here.runner).fresh


@pytest.mark.parametrize(
    ("what", "gone", "there", "size", "copied"),
    [
        ("a backup that was broken off", "", "backup_label", None, True),
        ("in the middle of its last file", "", "backup_label", 4096, True),
        ("a server has run on it", "", "backup_label postmaster.opts", None, False),
        ("files were lost", "", "", None, False),
        ("no WAL that says whose", "pg_wal", "backup_label", None, False),
    ],
)
def test_a_copy_that_was_broken_off(
    here: Here, what: str, gone: str, there: str, size: int | None, copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "QUIET", 0.0)
    data, system_id = Path(here.layout.data), datadir.local(here.layout, here.runner).system_id
    assert unfinished.whole(str(data))
    assert unfinished.backup_of(str(data)) == ""
    for name in there.split():
        (data / name).touch()
    if gone:
        shutil.rmtree(data / gone)
    if size is None:
        (data / "global/pg_control").unlink()
    else:
        os.truncate(data / "global/pg_control", size)
    found = instance.observe(here)
    assert (found.data, found.system_identifier) == ("broken", system_id if copied else ""), what


@pytest.mark.parametrize("what", ["none", "just now", "as old as its source", "a program", "WAL elsewhere"])
def test_a_copy_that_is_under_way_is_left_to_who_makes_it(
    here: Here, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's own, perhaps: it has the same files as one that was broken off."""
    data, copier = Path(here.layout.data), None
    (data / "backup_label").touch()
    (data / "global/pg_control").unlink()
    if "now" not in what and "old" not in what:
        monkeypatch.setattr(unfinished, "QUIET", 0.0)
    if what == "as old as its source":
        for path in (data, *data.rglob("*")):
            os.utime(path, (1.0, 1.0))
    if what == "WAL elsewhere":
        (data / "pg_wal").rename(f"{data}.wal")
        (data / "pg_wal").symlink_to(f"{data}.wal")
    if what == "a program":
        argv = ["pg_basebackup", "-c", "import time; print(1, flush=True); time.sleep(600)", f"--pgdata={data}"]
        copier = subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.PIPE)
        assert copier.stdout is not None
        assert copier.stdout.read(1)
    try:
        assert bool(unfinished.backup_of(str(data))) is (what == "none")
    finally:
        if copier:
            copier.kill()
            copier.communicate()


@pytest.mark.parametrize("what", ["another user's", "a link to itself", "a file"])
def test_what_cannot_be_seen_may_be_whole(here: Here, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No copy is needed for what chown or a disk's repair mends, and nobody is told that the data may go."""
    monkeypatch.setattr(unfinished, "QUIET", 0.0)
    folder = Path(here.layout.data) / "global"
    if what == "another user's":
        folder.chmod(0)
        if AS:
            shutil.chown(folder, "root", "root")
    else:
        shutil.rmtree(folder)
        folder.symlink_to("global") if what == "a link to itself" else folder.touch()
    (Path(here.layout.data) / "backup_label").touch()
    for ask in (unfinished.whole, unfinished.backup_of, lambda _data: instance.observe(here)):
        with pytest.raises(PgherdError, match=r"look at .*global/pg_control: .*nothing says that the data are broken"):
            ask(here.layout.data)
    folder.chmod(0o700) if what == "another user's" else None
