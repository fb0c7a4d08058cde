# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Shows the steps of a module that may take hours while they are done. **PRIVATE**.

The module runs as any other, so that its result, its failure and what Ansible hides of it are as ever, and it begins as fast.
A thread beside it reads the file into which it writes each step. Ansible's async would do the reverse: detach the module and look
for its result. That is no pipelining, a second Python on the host, a limit after which the module is killed, and a result that is
read in another way.
"""

from __future__ import annotations

import copy
import json
import shlex
import threading
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.text import one_line

# Seconds from one look to the next: the first, which follows a line too, and the longest, where nothing is said. Each look is a
# line in the log of sudo.
PAUSE, LONGEST = 1.0, 5.0
# Seconds that the task waits for the last look.
LAST = 30.0

display = Display()


def followed(action: ActionBase, name: str, task_vars: dict[str, Any] | None, wanted: bool = True) -> dict[str, Any]:
    """The result of the module *name* with the task's arguments, whose option ``steps_file`` takes the path of such a file.

    Nothing is followed where that is not *wanted*; in check mode, where there are no steps; with ``no_log``; and where the user
    has said ``async`` or follows a file of his own."""
    task, connection = action._task, action._connection
    detached = bool(task.async_val) and not connection.has_native_async
    if not wanted or task.check_mode or task.async_val or task.no_log or task.args.get("steps_file"):
        return dict(action._execute_module(module_name=name, task_vars=task_vars, wrap_async=detached))
    node = str(task.args.get("node"))
    try:
        directory = connection._shell.tmpdir or action._make_tmp_path()
    except AnsibleError as error:
        # Where the host is gone the module says so; where only its disk is full, that is no reason to do nothing.
        display.display(f"{node}: its steps are not shown: {one_line(str(error))}", color="yellow")
        return dict(action._execute_module(module_name=name, task_vars=task_vars))
    path = connection._shell.join_path(directory, "steps")
    with Follower(action, node, path):
        given = {**task.args, "steps_file": path}
        return dict(action._execute_module(module_name=name, module_args=given, task_vars=task_vars))


class Follower:
    """While its block runs, shows what comes into the file *path* on the *action*'s host, as lines of the *node*; at the block's
    end the rest. Each is ``[NUMBER, "LINE"]``: what else a terminal brings is none of them."""

    def __init__(self, action: ActionBase, node: str, path: str) -> None:
        # With a connection of its own: what one knows of a command that runs, such as sudo's answer, is in its object and in that
        # of its become plugin. The way is the same, ssh's open channel for one.
        self._action = copy.copy(action)
        self._action._connection = copy.copy(action._connection)
        self._action._connection.become = copy.copy(action._connection.become)
        self._node = node
        self._path = shlex.quote(path)
        self._shown = 0
        self._unseen = False
        self._ended, self._left = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="steps", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, kind: Any, error: Any, _trace: Any) -> None:
        # Where the module did not end but its connection did, a last look would only wait for that.
        if error is not None:
            self._left.set()
        self._ended.set()
        self._thread.join(LAST)
        self._left.set()

    def _follow(self) -> None:
        pause, ended = PAUSE, False
        while not ended:
            ended = self._ended.wait(pause)
            before = self._shown
            if not self._left.is_set():
                self._look()
            pause = PAUSE if self._shown > before else min(pause * 1.25, LONGEST)

    def _look(self) -> None:
        command = f"test ! -e {self._path} || tail -n +{self._shown + 1} {self._path}"
        try:
            answer = self._action._low_level_execute_command(command)
        except (AnsibleError, OSError, ValueError) as error:
            answer = {"rc": 1, "stdout": "", "stderr": str(error)}
        for line in answer["stdout"].splitlines():
            number, said = _step(line)
            if number > self._shown and not self._left.is_set():
                self._shown = number
                display.display(f"{self._node}: {one_line(said)}")
        if answer["rc"] and not self._unseen and not self._left.is_set():
            self._unseen = True
            why = one_line(" ".join((answer["stderr"] or answer["stdout"]).split())) or f"exit code {answer['rc']}"
            cure = "What has begun goes on; pgherd status there says how it stands."
            display.display(f"{self._node}: its steps cannot be seen at the moment: {why}. {cure}", color="yellow")


def _step(line: str) -> tuple[int, str]:
    """Number and text of a step; 0 for a line that is none, or half of one."""
    try:
        number, said = json.loads(line)
    except (ValueError, TypeError):
        return 0, ""
    return (number, said) if isinstance(number, int) and isinstance(said, str) else (0, "")
