# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The one place that knows both Ansible and the core. **PRIVATE**: it may change at any time."""

from __future__ import annotations

import json
import os
import platform
import pwd
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.common.sys_info import get_distribution, get_distribution_version

from .pgherd.errors import CommandError, PgherdError
from .pgherd.plan import Plan
from .pgherd.ports.run import Runner
from .pgherd.ports.sql import PsycopgServer, connect

if TYPE_CHECKING:
    from .pgherd.programs.pgpool import Pcp

SSL_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class Discreet(AnsibleModule):
    """A module whose arguments do not go to the host's journal, which more people read than the run's output.

    Ansible masks secrets there after repr(), which writes a secret of several lines, or with a quote in it, as another text
    than the one that is looked for; and a user's settings, which may hold one, are no secrets to it.
    """

    def _log_invocation(self) -> None:
        """Log nothing."""


def cluster_spec() -> dict[str, dict[str, Any]]:
    """Options of a module that is told the cluster, the twin of the doc fragment pgherd.cluster.cluster."""
    return {"cluster": {"type": "dict", "required": True}}


def node_spec() -> dict[str, dict[str, Any]]:
    """Options of a module about one node, on its host: the twin of pgherd.cluster.cluster and cluster.node."""
    return {
        **cluster_spec(),
        "node": {"type": "str", "required": True},
        "postgres_version": {"type": "int", "default": 0},
    }


def described_spec() -> dict[str, dict[str, Any]]:
    """Options of a module that goes by the description on its host, the twin of pgherd.cluster.cluster.described."""
    from .pgherd.model import CLUSTER_FILE

    return {"cluster_file": {"type": "path", "default": CLUSTER_FILE}}


def distribution() -> tuple[str, str]:
    """The distribution of this host and its major release, "OtherLinux" and "" for what is not known. Raspbian is Debian here, as
    in Ansible's facts. Those are not asked: seventy files of theirs would go to each host with every module."""
    name = str(get_distribution())
    return "Debian" if name == "Raspbian" else name, str(get_distribution_version() or "").partition(".")[0]


def steps_spec() -> dict[str, dict[str, Any]]:
    """Options of a module whose steps can be followed, the twin of the doc fragment pgherd.cluster.cluster.steps."""
    return {"steps_file": {"type": "path"}}


class Steps:
    """The lines that *module* says of its steps: all of them in ``log`` for its result, and each at once in the file that its
    option steps_file names."""

    def __init__(self, module: AnsibleModule) -> None:
        self.log: list[str] = []
        self._module = module
        self._turn, self._file = threading.Lock(), -1
        path = module.params["steps_file"]
        if path and not module.check_mode:
            with suppress(OSError):
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def say(self, line: str) -> None:
        """Take one *line*. A file that cannot be written is no error: a promotion must not end half done since nobody sees it."""
        with self._turn, suppress(OSError):
            self.log.append(line)
            if self._file >= 0:
                step = [len(self.log), remove_values(line, self._module.no_log_values)]
                os.write(self._file, f"{json.dumps(step)}\n".encode())

    def note(self, line: str) -> None:
        """Take one *line* of what this process does itself: nobody else writes that into the host's journal."""
        self._module.log(line)
        self.say(line)


def login_spec() -> dict[str, dict[str, Any]]:
    """Options of a module that speaks SQL, the twin of the doc fragment pgherd.cluster.login."""
    return {
        "login_host": {"type": "str", "default": "/var/run/postgresql"},
        "login_port": {"type": "int", "default": 5432},
        "login_user": {"type": "str", "default": "postgres"},
        "login_password": {"type": "str", "no_log": True},
        "login_db": {"type": "str", "default": "postgres"},
        "sslmode": {"type": "str", "default": "prefer", "choices": SSL_MODES},
        "sslrootcert": {"type": "path"},
    }


def login_parameters(params: dict[str, Any]) -> dict[str, Any]:
    """libpq parameters from a module's login options."""
    return {
        "host": params["login_host"],
        "port": params["login_port"],
        "user": params["login_user"],
        "password": params["login_password"],
        "dbname": params["login_db"],
        "sslmode": params["sslmode"],
        "sslrootcert": params["sslrootcert"],
    }


@contextmanager
def sessions(module: AnsibleModule, timeout: float = 30.0) -> Iterator[Callable[..., PsycopgServer] | None]:
    """Give a function that opens a session in a database, once for each, with the module's login options. More libpq
    parameters may be said by keyword.

    *timeout* in seconds bounds the connection and each statement. Gives None in check mode where the server's socket
    does not exist: an earlier task of the same run would make the server, and the forecast starts from an empty one.
    """
    parameters = login_parameters(module.params)
    by_socket = parameters["host"].startswith("/")
    if module.check_mode and by_socket and not os.path.exists(f"{parameters['host']}/.s.PGSQL.{parameters['port']}"):
        yield None
        return
    name = platform.node() if by_socket else parameters["host"]
    # What is said for all programs of libpq's goes before what connect() says, as it would without that.
    options = " ".join([f"-c statement_timeout={timeout * 1000:.0f}", os.environ.get("PGOPTIONS", "")]).strip()
    opened: dict[tuple[Any, ...], PsycopgServer] = {}
    with ExitStack() as stack:

        def session(database: str, **more: str) -> PsycopgServer:
            key = (database, *sorted(more.items()))
            if key not in opened:
                whole = {**parameters, "dbname": database, **more, "options": options}
                opened[key] = stack.enter_context(connect(name, whole, timeout))
            return opened[key]

        yield session


def pcp_spec() -> dict[str, dict[str, Any]]:
    """Options of a module that speaks PCP, the twin of the doc fragment pgherd.cluster.pcp."""
    from .pgherd.layout import SOCKETS
    from .pgherd.model import PCP_USER
    from .pgherd.programs.pgpool import PCP_PASSFILE

    return {
        "pcp_host": {"type": "str", "default": SOCKETS},
        "pcp_port": {"type": "int", "default": 9898},
        "pcp_user": {"type": "str", "default": PCP_USER},
        "pcp_passfile": {"type": "path", "default": PCP_PASSFILE},
        "pcp_password": {"type": "str", "no_log": True},
    }


def pcp_client(module: AnsibleModule, runner: Runner) -> Pcp:
    """The client with the module's options. A password goes through a file that goes with the module."""
    from .pgherd.programs.pgpool import Pcp, pcp_passfile

    given = module.params
    path = given["pcp_passfile"]
    if given["pcp_password"]:
        path = os.path.join(module.tmpdir, "pcp.pass")
        line = pcp_passfile(given["pcp_user"], given["pcp_password"])
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(line)
    return Pcp(runner, given["pcp_host"], given["pcp_port"], given["pcp_user"], path)


@contextmanager
def reporting_errors(module: AnsibleModule) -> Iterator[None]:
    """Turn every error of the core into the module's failure, with the program's exit code where there is one."""
    try:
        yield
    except CommandError as error:
        module.fail_json(
            msg=_said(error),
            command=list(error.argv),
            rc=error.rc,
            stdout=error.out,
            stderr=error.err,
            exception=traceback.format_exc(),
        )
    except (PgherdError, PermissionError) as error:
        module.fail_json(msg=_said(error), exception=traceback.format_exc())


def _said(error: Exception) -> str:
    """What failed, and that this process is not root's where that may be why: some have ansible_become in their inventory for
    other playbooks, and it goes before what a playbook says."""
    # Nobody is root in a pod.
    if os.geteuid() == 0 or os.environ.get("PGHERD_PLACE") == "pod":
        return str(error)
    return (
        f"{error} This ran as user {pwd.getpwuid(os.geteuid()).pw_name}, and the playbooks of pgherd.cluster work as root: let "
        "ansible_become be true and ansible_become_user root for these hosts."
    )


def fail(module: AnsibleModule, why: str, **result: Any) -> NoReturn:
    """End the module as failed for the reason *why*, with what it found."""
    module.fail_json(msg=why, **result)


def apply_plan(module: AnsibleModule, plan: Plan, executor: Any) -> None:
    """Run the plan's steps, unless in check mode."""
    if plan.changed and not module.check_mode:
        plan.apply(executor)


def finish(module: AnsibleModule, plan: Plan, **result: Any) -> NoReturn:
    """End the module: changed, before, after, steps and diff come from the plan. A *diff* in *result* replaces the
    plain one of both states."""
    states = {
        "before_header": plan.subject,
        "after_header": plan.subject,
        "before": dict(plan.before),
        "after": dict(plan.after),
    }
    module.exit_json(
        **{
            "changed": plan.changed,
            "before": dict(plan.before),
            "after": dict(plan.after),
            "steps": plan.describe(),
            "diff": states,
            **result,
        }
    )
    raise AssertionError("exit_json does not return")


def conclude(module: AnsibleModule, plan: Plan, executor: Any, **result: Any) -> NoReturn:
    """Apply the plan and end the module; for modules whose result needs no second look."""
    apply_plan(module, plan, executor)
    finish(module, plan, **result)
