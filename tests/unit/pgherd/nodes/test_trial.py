# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What PostgreSQL says of a start that is only tried, and that the trial touches no data."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pgherd.errors import PgherdError
from pgherd.layout import Layout, debian
from pgherd.nodes import instance_check, shared_memory, trial
from pgherd.nodes.shared_memory import HostMemory, SharedMemory, fits, parse_maps, parse_meminfo
from pgherd.nodes.trial import refusals, said
from pgherd.places.host import try_files
from pgherd.ports.hostfiles import File, observe
from pgherd.ports.hostfiles import plan as plan_files
from pgherd.ports.run import Result

CONF = "/etc/postgresql/15/main/postgresql.conf"
TEXT = "# Written\nmax_connections = 300\nsuperuser_reserved_connections = 400\n"
# trial.refusals() on PostgreSQL 15.18: what the server program wrote.
BEGUN = """\
LOG:  starting PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu, 64-bit
LOG:  listening on Unix socket "/tmp/pgherd-trial-x/data/.s.PGSQL.5432"
"""
GOOD = (
    BEGUN
    + """\
LOG:  database system was shut down at 2026-11-29 11:38:11 GMT
FATAL:  invalid data in file "backup_label"
LOG:  startup process (PID 6862) exited with exit code 1
LOG:  terminating any other active server processes
LOG:  shutting down due to startup process failure
LOG:  database system is shut down
"""
)
SHUT = "LOG:  database system is shut down\n"
HUGE = (
    "This error usually means that PostgreSQL's request for a shared memory segment exceeded available memory, swap space, or"
    " huge pages. To reduce the request size (currently 984228790272 bytes), reduce PostgreSQL's shared memory usage, perhaps"
    " by reducing shared_buffers or max_connections"
)


@pytest.mark.parametrize(
    ("log", "sentences"),
    [
        (GOOD, []),
        (
            f'FATAL:  could not access file "pg_stat_statments": No such file or directory\n{SHUT}',
            ['could not access file "pg_stat_statments": No such file or directory'],
        ),
        (
            f"FATAL:  could not map anonymous shared memory: Cannot allocate memory\nHINT:  {HUGE}.\n{SHUT}",
            [f"could not map anonymous shared memory: Cannot allocate memory ({HUGE})"],
        ),
        (
            "postgres: superuser_reserved_connections (400) must be less than max_connections (300)\n",
            ["superuser_reserved_connections (400) must be less than max_connections (300)"],
        ),
        (
            'FATAL:  WAL streaming (max_wal_senders > 0) requires wal_level "replica" or "logical"\n',
            ['WAL streaming (max_wal_senders > 0) requires wal_level "replica" or "logical"'],
        ),
        (
            f'{BEGUN}LOG:  group "nix" does not exist\nFATAL:  could not create any Unix-domain sockets\n{SHUT}',
            ['group "nix" does not exist', "could not create any Unix-domain sockets"],
        ),
        (
            f'{BEGUN}LOG:  invalid CIDR mask in address "10.0.0.0/33"\n'
            'CONTEXT:  line 1 of configuration file "/etc/postgresql/15/main/pg_hba.conf"\n'
            'LOG:  invalid authentication method "md6"\n'
            'CONTEXT:  line 2 of configuration file "/etc/postgresql/15/main/pg_hba.conf"\n'
            f"FATAL:  could not load pg_hba.conf\n{SHUT}",
            [
                '/etc/postgresql/15/main/pg_hba.conf line 1: invalid CIDR mask in address "10.0.0.0/33"',
                '/etc/postgresql/15/main/pg_hba.conf line 2: invalid authentication method "md6"',
            ],
        ),
        (
            f'LOG:  invalid value for parameter "max_connections": "many"\nFATAL:  configuration file "{CONF}" contains errors\n',
            [f'{CONF} line 2: invalid value for parameter "max_connections": "many"'],
        ),
    ],
)
def test_a_start_in_its_own_words(log: str, sentences: list[str]) -> None:
    assert said(log, CONF, TEXT) == sentences


class Postgres:
    """A server program with 300 connections and 150 MiB, which says *log* at a start and *memory* where it may have all."""

    def __init__(self, log: str = GOOD, memory: str = "", huge_pages: str = "try") -> None:
        self.log = log
        self.memory = memory
        self.values = {"shared_memory_size_in_huge_pages": "75", "huge_pages": huge_pages, "port": "5432"}
        self.starts: list[dict[str, str]] = []
        self.places: list[list[str]] = []
        self.beside: list[str] = []

    def run(self, argv: list[str], **options: Any) -> Result:
        if argv[0].endswith("/initdb"):
            (own,) = (Path(word.partition("=")[2]) for word in argv if word.startswith("--pgdata="))
            (own / "global").mkdir(parents=True)
            (own / "PG_VERSION").write_text("15\n")
            return Result(tuple(argv), 0)
        assert argv[:5] == ["choom", "-n", "1000", "--", "/usr/lib/postgresql/15/bin/postgres"]
        given = dict(word.split("=", 1) for flag, word in zip(argv, argv[1:]) if flag == "-c")
        if "-C" in argv:
            asked = argv[argv.index("-C") + 1]
            if asked in ("session_preload_libraries", "local_preload_libraries"):
                return Result(tuple(argv), 0, "auto_explian\n")
            missing = given.get("shared_preload_libraries", "")
            said = f'FATAL:  could not access file "{missing}": No such file or directory\n' if missing else ""
            return Result(tuple(argv), 0, f"{self.values.get(asked, '')}\n", said)
        self.starts.append(given)
        self.beside = sorted(os.listdir(os.path.dirname(given["data_directory"])))
        self.places.append(sorted(os.listdir(given["data_directory"])))
        return Result(tuple(argv), 1, "", self.memory if self.memory and "shared_buffers" not in given else self.log)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(trial, "OWNER", pwd.getpwuid(os.geteuid()).pw_name)
    (tmp_path / "data/global").mkdir(parents=True)
    (tmp_path / "data/global/pg_control").write_text("control")
    (tmp_path / "data/PG_VERSION").write_text("15\n")
    (tmp_path / "data/postgresql.auto.conf").write_text("primary_slot_name = 'a'\n")
    return tmp_path / "data"


def of(data: Path) -> Layout:
    """With the configuration beside the data."""
    return replace(debian(15, str(data)), configuration=str(data.parent / "etc"))


FILES = {"postgresql.conf": TEXT, "pg_hba.conf": "local all all peer\n", "pg_ident.conf": ""}


def test_nothing_of_the_node_is_touched(data: Path) -> None:
    postgres = Postgres()
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    assert refusals(FILES, of(data), postgres) == []
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    (given,) = postgres.starts
    place = given["data_directory"]
    assert place.startswith("/tmp/pgherd-trial-")
    assert not os.path.exists(os.path.dirname(place))
    assert {"PG_VERSION", "backup_label", "global", "postgresql.auto.conf"} <= set(postgres.places[0])
    assert (given["listen_addresses"], given["archive_command"], given["archive_library"]) == ("", "", "")
    assert (given["fsync"], given["logging_collector"], given["log_destination"]) == ("off", "off", "stderr")
    assert given["unix_socket_directories"] == place
    # The directory that the file includes may come with it.
    assert postgres.beside == ["conf.d", "data", "pg_hba.conf", "pg_ident.conf", "postgresql.conf"]
    assert given["external_pid_file"].startswith(os.path.dirname(place))


def test_what_stands_beside_the_files_is_read_too(data: Path, tmp_path: Path) -> None:
    (tmp_path / "etc/conf.d").mkdir(parents=True)
    (tmp_path / "etc/people").write_text("app\n")
    (tmp_path / "etc/pg_hba.conf").write_text("old\n")
    postgres = Postgres()
    assert refusals(FILES, of(data), postgres) == []
    assert postgres.beside == ["conf.d", "data", "people", "pg_hba.conf", "pg_ident.conf", "postgresql.conf"]


def test_without_data_an_empty_cluster_is_tried(tmp_path: Path) -> None:
    postgres = Postgres(log="postgres: superuser_reserved_connections (400) must be less than max_connections (300)\n")
    (found,) = refusals(FILES, of(tmp_path / "none"), postgres)
    assert found == "superuser_reserved_connections (400) must be less than max_connections (300)"
    assert {"PG_VERSION", "backup_label", "global"} <= set(postgres.places[0])
    assert not (tmp_path / "none").exists()


def test_wrong_values_do_not_hide_wrong_rules(data: Path, tmp_path: Path) -> None:
    class Both(Postgres):
        def run(self, argv: list[str], **options: Any) -> Result:
            done = super().run(argv, **options)
            conf = next(word for word in argv if word.startswith("--config-file="))
            line = f'LOG:  bad\nCONTEXT:  line 1 of configuration file "{os.path.dirname(conf[14:])}/pg_hba.conf"\n'
            wrong = (
                'LOG:  invalid value for parameter "work_mem": "lots"\nFATAL:  configuration file "x" contains errors\n'
            )
            given = dict(word.split("=", 1) for flag, word in zip(argv, argv[1:]) if flag == "-c")
            line = line.replace('"/dev/pg_hba.conf"', f'"{given["hba_file"]}"')
            return done if "-C" in argv else Result(tuple(argv), 1, "", line if conf.endswith("/dev/null") else wrong)

    etc = tmp_path / "etc"
    assert refusals({**FILES, "postgresql.conf": "work_mem = 'lots'\n"}, of(data), Both()) == [
        f'{etc}/postgresql.conf line 1: invalid value for parameter "work_mem": "lots"',
        f"{etc}/pg_hba.conf line 1: bad",
    ]


@pytest.mark.parametrize(
    ("setting", "library"),
    [
        ("session_preload_libraries", "auto_explian"),
        ("local_preload_libraries", "$libdir/plugins/auto_explian"),
    ],
)
def test_a_library_of_each_session(data: Path, setting: str, library: str) -> None:
    """No server fails to start for it, and nobody gets in any more."""
    texts = {**FILES, "postgresql.conf": f"{setting} = 'auto_explian'\n"}
    (sentence,) = refusals(texts, of(data), Postgres())
    assert sentence == f'{setting}: could not access file "{library}": No such file or directory'


GiB = 1 << 30
PAGE = 2 << 20
PLAIN = {"MemTotal": 64 * GiB, "MemAvailable": 20 * GiB, "SwapTotal": 0, "Hugepagesize": PAGE}
STRICT = {**PLAIN, "CommitLimit": 50 * GiB, "Committed_AS": 30 * GiB}
PAGES = {**PLAIN, "HugePages_Total": 9000, "HugePages_Free": 8000, "HugePages_Rsvd": 7000}


@pytest.mark.parametrize(
    ("what", "needed", "huge", "held", "host", "tried"),
    [
        ("mapped memory costs nothing", 32 * GiB, "try", SharedMemory(30 * GiB), HostMemory(PLAIN, 0), True),
        ("no host of this size: PostgreSQL says so", 900 * GiB, "off", SharedMemory(GiB), HostMemory(PLAIN, 0), True),
        (
            "what it writes to is too much beside one",
            60 * GiB,
            "off",
            SharedMemory(GiB),
            HostMemory({**PLAIN, "MemAvailable": GiB}, 0),
            False,
        ),
        ("promised whatever there is: not tried", 900 * GiB, "off", SharedMemory(GiB), HostMemory(PLAIN, 1), False),
        ("strict, and there is enough for both", 10 * GiB, "off", SharedMemory(15 * GiB), HostMemory(STRICT, 2), True),
        ("strict, enough when the old one is gone", 30 * GiB, "off", SharedMemory(15 * GiB), HostMemory(STRICT, 2), False),
        ("strict, never enough", 40 * GiB, "off", SharedMemory(15 * GiB), HostMemory(STRICT, 2), True),
        ("huge pages for both", 900 * PAGE, "on", SharedMemory(0, 7000 * PAGE), HostMemory(PAGES, 0), True),
        ("huge pages when the old one is gone", 7500 * PAGE, "on", SharedMemory(0, 7000 * PAGE), HostMemory(PAGES, 0), False),
        ("never so many huge pages", 9500 * PAGE, "on", SharedMemory(0, 7000 * PAGE), HostMemory(PAGES, 0), True),
        ("no huge pages at all", GiB, "on", SharedMemory(GiB), HostMemory(PLAIN, 0), True),
        ("not known", -PAGE, "on", SharedMemory(GiB), HostMemory(PAGES, 0), True),
    ],
)  # fmt: skip
def test_memory_beside_a_server_that_runs(
    what: str, needed: int, huge: str, held: SharedMemory, host: HostMemory, tried: bool
) -> None:
    assert fits(needed // PAGE, huge, held, host) is tried, what


def test_memory_that_cannot_be_tried_hides_nothing_else(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "held", lambda directory: SharedMemory(0, 70 * PAGE))
    monkeypatch.setattr(
        shared_memory, "host", lambda: HostMemory({**PLAIN, "HugePages_Free": 20, "HugePages_Rsvd": 0}, 0)
    )
    postgres = Postgres(
        memory="FATAL:  could not map anonymous shared memory: Cannot allocate memory\n", huge_pages="on"
    )
    assert refusals(FILES, of(data), postgres) == []
    assert (postgres.starts[0]["huge_pages"], postgres.starts[0]["shared_buffers"]) == ("off", "1MB")


def test_what_a_process_and_a_host_have() -> None:
    maps = (
        "7fa6d54da000-7fa6de372000 rw-s 00000000 00:01 65594                      /dev/zero (deleted)\n"
        "7fa6de400000-7fa6de600000 rw-s 00000000 00:0f 66611                      /anon_hugepage (deleted)\n"
        "7fa6e0620000-7fa6e0627000 rw-s 00000000 00:1b 66611                      /dev/shm/PostgreSQL.3740899790\n"
        "7fa6e0627000-7fa6e0628000 rw-s 00000000 00:01 45                         /SYSV009883c0 (deleted)\n"
    )
    assert parse_maps(maps) == SharedMemory(0x8E98000 + 0x1000, 0x200000)
    assert not parse_maps("")
    assert parse_meminfo("MemTotal:       24683536 kB\nHugePages_Free:       3\n") == {
        "MemTotal": 24683536 * 1024,
        "HugePages_Free": 3,
    }


class Calendar:
    """systemd-analyze, which does not know cron's form."""

    def run(self, argv: list[str], **options: Any) -> Result:
        assert argv[:3] == ["systemd-analyze", "calendar", "--"]
        wrong = argv[3] == "0 2 * * *"
        return Result(
            tuple(argv), int(wrong), "", f"Failed to parse calendar specification '{argv[3]}'" if wrong else ""
        )


@pytest.mark.parametrize(("when", "refused"), [("*-*-* 02:00:00", False), ("0 2 * * *", True)])
def test_a_timer_is_tried_by_systemd(when: str, refused: bool) -> None:
    path = "/etc/systemd/system/pgherd-test-nowhere.timer"
    todo = plan_files([File(path, f"[Timer]\nOnCalendar={when}\n")], {path: observe(path)})
    if not refused:
        try_files.refuse(todo, Calendar())
        return
    with pytest.raises(PgherdError, match=r"Failed to parse .* Nothing was written. Correct cluster_barman_schedule"):
        try_files.refuse(todo, Calendar())


# pgpool -f FILE reload, Pgpool-II 4.6.1
NOBODY = "2026-11-29 12:20:49.687: main pid 2313: FATAL:  could not read pid file\n"
WRONG = (
    '2026-11-29 12:20:57.628: main pid 2353: FATAL:  invalid value for parameter "client_idle_limit": "99999999999"\n'
    "2026-11-29 12:20:57.628: main pid 2353: HINT:  Value exceeds allowed range.\n"
)
SYNTAX = (
    '2026-11-29 12:20:55.107: main pid 2345: FATAL:  syntax error in configuration file "{}"\n'
    "2026-11-29 12:20:55.107: main pid 2345: DETAIL:  parse error at line 64 '(' token = 8\n"
)


class Reload:
    """pgpool, asked for a reload of nobody."""

    def __init__(self, log: str) -> None:
        self.log = log
        self.read = ""

    def run(self, argv: list[str], **options: Any) -> Result:
        program, flag, path, verb = argv
        assert (program, flag, verb) == ("/usr/sbin/pgpool", "-f", "reload")
        self.read = Path(path).read_text()
        assert self.read.splitlines()[-1] == f"pid_file_name = '{os.path.dirname(path)}/nobody'"
        assert not os.path.exists(f"{os.path.dirname(path)}/nobody")
        return Result(tuple(argv), 1, "", self.log.format(path))


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (NOBODY, ""),
        (WRONG, 'invalid value for parameter "client_idle_limit": "99999999999" (Value exceeds allowed range)'),
        (
            SYNTAX,
            "syntax error in configuration file \"/etc/pgpool2/pgpool.conf\" (parse error at line 64 '(' token = 8)",
        ),
        ("Killed\n", "/usr/sbin/pgpool exited 1: Killed"),
    ],
)
def test_a_pgpool_reads_it_before_it_is_written(log: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not start serves nobody, and the next one would be restarted with the same."""
    monkeypatch.setattr(try_files, "OWNER", pwd.getpwuid(os.geteuid()).pw_name)
    monkeypatch.setattr(try_files.os.path, "exists", lambda path: path == "/usr/sbin/pgpool")
    path = "/etc/pgpool2/pgpool.conf"
    todo = plan_files([File(path, "port = 9999\n")], {path: {"kind": "absent"}})
    pgpool = Reload(log)
    if not said:
        try_files.refuse(todo, pgpool)
    else:
        with pytest.raises(PgherdError) as caught:
            try_files.refuse(todo, pgpool)
        assert f"cannot be: {said}. Nothing was written. Correct cluster_pgpool_settings." in str(caught.value)
    assert pgpool.read.startswith("port = 9999\n")


def test_a_configuration_is_tried_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def wrong(layout: Layout, runner: object, texts: dict[str, str]) -> list[str]:
        asked.append((layout.version, layout.data, texts))
        return ["no such library"]

    monkeypatch.setattr(try_files, "wrong_files", wrong)
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    text = "data_directory = '/srv/it''s'\n"
    todo = plan_files([File(CONF, text)], {CONF: {"kind": "absent"}})
    with pytest.raises(PgherdError, match=r"cannot be: no such library. Nothing was written. Correct cluster_postgres"):
        try_files.refuse(todo, Calendar())
    assert asked == [(15, "/srv/it's", {"postgresql.conf": text})]
    # Nothing is asked where nothing changes.
    try_files.refuse(plan_files([], {}), Calendar())
    assert len(asked) == 1


def test_files_that_stand_are_tried_with_those_that_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = replace(debian(15), configuration=str(tmp_path))
    (tmp_path / "postgresql.conf").write_text("a = 1\n")
    (tmp_path / "pg_hba.conf").write_text("old\n")
    tried: list[dict[str, str]] = []
    monkeypatch.setattr(instance_check, "refusals", lambda texts, *more: tried.append(texts) or [])
    assert instance_check.wrong_files(there, Calendar(), {"pg_hba.conf": "new\n"}) == []
    assert tried == [{"postgresql.conf": "a = 1\n", "pg_hba.conf": "new\n"}]
