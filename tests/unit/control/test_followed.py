# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A person sees each step of a switchover or a rejoin when it is done, and nothing else about the task is other than without.

Real runs over a real connection, with a module in the place of those that touch a host. It says a step and does not go on before
the test lets it, which is when the step has been shown.
"""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MODULE = """\
from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import Steps, finish, reporting_errors, steps_spec
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.errors import PgherdError
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.plan import Plan, Step
from ansible.module_utils.basic import AnsibleModule
import os, time
spec = {"node": {"type": "str"}, "rejoin": {"type": "bool"}, "fails": {"type": "bool"}, "secret": {"no_log": True}}
module = AnsibleModule(argument_spec={**spec, "place": {"type": "path"}, **steps_spec()}, supports_check_mode=True)
given, steps = module.params, Steps(module)

def wait(name):
    until = time.monotonic() + 300
    while not os.path.exists(os.path.join(given["place"], name)):
        if time.monotonic() > until:
            raise PgherdError("nobody has said " + name + ".")
        time.sleep(0.05)

plan = Plan("pg", {"primary": "pg1"}, {"primary": "pg2"}, (Step("go", "hand over", {}),))
with reporting_errors(module):
    # As a node that is right.
    if given["node"] != "pg1" and not module.check_mode:
        steps.say("promote: sealed")
        wait("go on")
        steps.say("promote: \\u00e4 \\x1b[31mred")
        steps.say("promote: done, by " + (given["secret"] or "nobody"))
        if given["fails"]:
            raise PgherdError("switchover: it failed.", "See there.")
    module.warn("a warning")
    finish(module, plan, target=given["node"], log=steps.log, told=given["steps_file"] or "", where=os.getcwd())
"""
# A connection that is lost for looks alone, while there is a file "cut".
CONNECTION = """\
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import local
import os
DOCUMENTATION = local.DOCUMENTATION.replace("name: local", "name: pgherd.cluster.cut")

class Connection(local.Connection):
    transport = "pgherd.cluster.cut"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        if "tail -n" in cmd and os.path.exists(os.environ["CUT"]):
            raise AnsibleConnectionFailure("Connection timed out")
        return super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
"""
SEALED = "pg2: promote: sealed"
SHOWN = [SEALED, "pg2: promote: \u00e4 ?[31mred", "pg2: promote: done, by nobody"]


class Play:
    """A run of ansible-playbook at a terminal: what that shows, as it comes."""

    def __init__(self, place: Path, *words: str, **settings: str) -> None:
        own = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        own.update(
            ANSIBLE_COLLECTIONS_PATH=str(place),
            ANSIBLE_NOCOWS="1",
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_REMOTE_TMP=str(place / "remote"),
            ANSIBLE_LOCAL_TEMP=str(place / "local"),
            ANSIBLE_ASYNC_DIR=str(place / "async"),
            CUT=str(place / "cut"),
            COLUMNS="500",
        )
        ours, theirs = pty.openpty()
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "inventory.yml", "play.yml", *words]
        self._process = subprocess.Popen(
            argv, env={**own, **settings}, cwd=place, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self._terminal = ours
        self.said = ""

    def __enter__(self) -> Play:
        return self

    def __exit__(self, *_error: Any) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def until(self, met: Callable[[str], bool]) -> str:
        """Read until the text so far has *met* a condition."""
        deadline = time.monotonic() + 300
        while not met(self.said):
            assert time.monotonic() < deadline, self.said
            if select.select([self._terminal], [], [], 1.0)[0] and not self._read():
                break
        assert met(self.said), self.said
        return self.said

    def end(self) -> tuple[int, list[str]]:
        """The exit code and all lines."""
        deadline = time.monotonic() + 300
        while self._read():
            assert time.monotonic() < deadline, self.said
        return self._process.wait(30), self.said.splitlines()

    def _read(self) -> bool:
        try:
            found = os.read(self._terminal, 65536)
        except OSError:
            # Nobody has the other end any more.
            return False
        self.said += found.decode("utf-8", "replace")
        return bool(found)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A collection whose two modules are the one above, two hosts, and where runs write."""
    collection = tmp_path / "ansible_collections/pgherd/cluster"
    shutil.copytree(ROOT / "plugins", collection / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("cluster_primary", "repmgr_node"):
        (collection / f"plugins/modules/{name}.py").write_text(MODULE, encoding="utf-8")
    (collection / "plugins/connection").mkdir()
    (collection / "plugins/connection/cut.py").write_text(CONNECTION)
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"hosts": dict.fromkeys(("pg1", "pg2"), here)}
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"postgres": hosts}))
    return tmp_path


def task(module: str = "cluster_primary", own: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A task of *module* with options of its *own*."""
    return {f"pgherd.cluster.{module}": {"node": "{{ inventory_hostname }}", **(own or {})}, **more}


def write(place: Path, *tasks: dict[str, Any], hosts: str = "pg2") -> None:
    """Write a play of *tasks* that keeps their results."""
    kept: list[dict[str, Any]] = []
    for number, one in enumerate(tasks):
        copied = {"dest": f"{place}/{{{{ inventory_hostname }}}}-{number}.json", "content": "{{ result }}"}
        module = next(iter(one))
        kept.append({**one, module: {**one[module], "place": str(place)}, "register": "result", "ignore_errors": True})
        here = {"delegate_to": "localhost", "check_mode": False, "vars": {"ansible_remote_tmp": f"{place}/local"}}
        kept.append({"ansible.builtin.copy": copied, **here})
    (place / "play.yml").write_text(yaml.safe_dump([{"hosts": hosts, "gather_facts": False, "tasks": kept}]))


def result(place: Path, host: str = "pg2", number: int = 0) -> dict[str, Any]:
    return dict(json.loads((place / f"{host}-{number}.json").read_text(encoding="utf-8")))


def steps(lines: list[str]) -> list[str]:
    return [line for line in lines if ": promote: " in line and "=>" not in line]


@pytest.fixture(params=["pipelining", "files", "su"])
def means(request: pytest.FixtureRequest) -> dict[str, str]:
    """How a command gets to its host."""
    settings = {"ANSIBLE_PIPELINING": str(request.param == "pipelining")}
    if request.param == "su":
        if os.geteuid():
            pytest.skip("only root becomes another without a password")
        same = {"ANSIBLE_BECOME_ALLOW_SAME_USER": "true", "ANSIBLE_BECOME_METHOD": "su", "ANSIBLE_BECOME": "true"}
        settings.update(same)
    return settings


def test_a_step_is_shown_before_the_next_is_done(place: Path, means: dict[str, str]) -> None:
    write(place, task())
    with Play(place, **means) as run:
        run.until(lambda said: SEALED in said)
        (place / "go on").touch()
        rc, lines = run.end()
    assert rc == 0, run.said
    # What came between two looks too, in order, once, before the task's own line; and no control characters.
    assert steps(lines) == SHOWN
    assert lines.index(SHOWN[-1]) < lines.index("changed: [pg2]")
    assert "\x1b" not in run.said
    found = result(place)
    assert found["log"] == ["promote: sealed", "promote: \u00e4 \x1b[31mred", "promote: done, by nobody"]
    assert (found["changed"], found["target"], found["steps"]) == (True, "pg2", ["hand over"])
    assert found["diff"]["after"] == {"primary": "pg2"}
    assert found["warnings"] == ["a warning"]
    # Nothing is left on the host.
    assert not list((place / "remote").glob("*"))
    assert not os.path.exists(found["told"])


def test_one_that_fails_and_what_is_secret(place: Path) -> None:
    # Ansible shows the lines of a task that fails.
    write(place, task(own={"fails": True, "secret": "{{ 'ti' ~ 'ger' }}"}))
    with Play(place, "-vvv") as run:
        run.until(lambda said: SEALED in said)
        (place / "go on").touch()
        rc, lines = run.end()
    assert rc == 0, run.said
    assert steps(lines) == [*SHOWN[:2], "pg2: promote: done, by ********"]
    assert "tiger" not in run.said
    found = result(place)
    assert found["failed"] is True
    assert found["msg"].startswith("switchover: it failed. See there.")
    assert not list((place / "remote").glob("*"))


def test_nodes_at_once_and_one_that_has_nothing_to_do(place: Path) -> None:
    write(place, task("repmgr_node", {"rejoin": True}), hosts="all")
    with Play(place) as run:
        run.until(lambda said: SEALED in said)
        (place / "go on").touch()
        rc, lines = run.end()
    assert rc == 0, run.said
    assert steps(lines) == SHOWN
    assert [result(place, host)["target"] for host in ("pg1", "pg2")] == ["pg1", "pg2"]


@pytest.mark.parametrize("check", [False, True])
def test_where_nobody_follows(place: Path, check: bool) -> None:
    """The modules run as without: in check mode, on a node that is not brought back, as a job of Ansible's, and in silence."""
    (place / "go on").touch()
    rejoin = {"rejoin": True}
    foretold = [task(), task("repmgr_node", rejoin)]
    real = [task("repmgr_node"), task("repmgr_node", rejoin, poll=1, **{"async": 60}), task(no_log=True)]
    tasks = foretold if check else real
    write(place, *tasks)
    with Play(place, *(["--check"] if check else [])) as run:
        rc, lines = run.end()
    assert rc == 0, run.said
    assert steps(lines) == []
    for number in range(len(tasks)):
        found = result(place, number=number)
        assert (found["told"], found["changed"], len(found["log"])) == ("", True, 0 if check else 3)


def test_looks_that_fail_do_not_end_it(place: Path) -> None:
    (place / "cut").touch()
    write(place, task())
    lost = "pg2: its steps cannot be seen at the moment: Connection timed out."
    with Play(place, "-e", "ansible_connection=pgherd.cluster.cut") as run:
        run.until(lambda said: lost in said)
        assert SEALED not in run.said
        (place / "cut").unlink()
        run.until(lambda said: SEALED in said)
        (place / "go on").touch()
        rc, lines = run.end()
    assert rc == 0, run.said
    assert steps(lines) == SHOWN
    assert run.said.count(lost) == 1
    assert result(place)["changed"] is True


def test_a_host_without_room_is_no_reason_to_do_nothing(place: Path) -> None:
    """With pipelining a switchover needs no file on its host."""
    (place / "go on").touch()
    (place / "full").touch()
    write(place, task())
    with Play(place, ANSIBLE_PIPELINING="True", ANSIBLE_REMOTE_TMP=str(place / "full/tmp")) as run:
        rc, lines = run.end()
    assert rc == 0, run.said
    assert any(line.startswith("pg2: its steps are not shown: ") for line in lines)
    assert (result(place)["changed"], len(result(place)["log"])) == (True, 3)
