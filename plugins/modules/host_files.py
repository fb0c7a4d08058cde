#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module host_files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: State many small files of a host in one task
description:
  - Writes, links or removes many small files and directories, each whole or not at all.
  - A task costs a host about a third of a second of processor time, whatever it does. A host of a cluster has some
    forty files; stating them together is what keeps the second run of the site playbook short.
  - Where the configuration of PostgreSQL or Pgpool-II, or a systemd timer, is to change, the program itself tries it before
    anything is written, in check mode too. What it refuses ends the task with its words.
version_added: 0.1.0
author: pgherd contributors (@pgherd)
extends_documentation_fragment:
  - pgherd.cluster.attributes
options:
  files:
    description: The files, directories and links that should be so, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      kind:
        description: What should be at the path. The O(files[].content) of a V(link) is its target.
        type: str
        choices: [file, directory, link, absent]
        default: file
      content:
        description: What the file holds.
        type: str
        default: ""
      secret_content:
        description: What the file holds, in the place of O(files[].content), where it must not be shown.
        type: str
        default: ""
      owner:
        description: The owner's name.
        type: str
        default: root
      group:
        description: The group's name.
        type: str
        default: root
      mode:
        description: Four octal digits.
        type: str
        default: "0644"
      binary:
        description: Whether O(files[].content) is base64.
        type: bool
        default: false
      once:
        description: Write only where nothing is yet.
        type: bool
        default: false
      own:
        description:
          - A regular expression, for a file that others write to as well. Lines that are there and do not match it are theirs
            and stay, behind O(files[].content).
        type: str
        default: ""
      only:
        description:
          - Of a directory, whether nothing may be in it, or below, but what O(files) names. All else is removed there, so it
            must be a directory of root's own.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: A drop-in and a passfile
  pgherd.cluster.host_files:
    files:
      - path: /etc/systemd/system/postgresql@17-main.service.d/pgherd.conf
        content: "[Service]\nRestart=on-failure\n"
      - path: /var/lib/postgresql/.pgpass
        secret_content: "{{ passfile }}"
        owner: postgres
        group: postgres
        mode: "0600"
"""

RETURN = r"""
changed_paths:
  description: Paths that were, or in check mode would be, written or removed.
  returned: always
  type: list
  elements: str
before:
  description: By changed path, what was there.
  returned: always
  type: dict
after:
  description: By changed path, what is there now.
  returned: always
  type: dict
steps:
  description: One sentence per step.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.pgherd.cluster.plugins.module_utils._ansible import (
    Discreet,
    apply_plan,
    finish,
    reporting_errors,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.hostfiles import (
    Disk,
    File,
    diff,
    leftovers,
    observe,
    plan,
)
from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.ports.run import LocalRunner

FILE_SPEC = {
    "path": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["file", "directory", "link", "absent"], "default": "file"},
    "content": {"type": "str", "default": ""},
    "secret_content": {"type": "str", "default": "", "no_log": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0644"},
    "binary": {"type": "bool", "default": False},
    "once": {"type": "bool", "default": False},
    "own": {"type": "str", "default": ""},
    "only": {"type": "bool", "default": False},
}


def main() -> None:
    """Wire the module."""
    module = Discreet(
        argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": FILE_SPEC}},
        supports_check_mode=True,
    )
    with reporting_errors(module):
        stated = [File.from_dict(item) for item in module.params["files"]]
        items = [*stated, *leftovers(stated)]
        todo = plan(items, {item.path: observe(item.path) for item in items})
        if todo.changed:
            # Not at the top: a host compiles anew whatever a module imports, and most tasks find nothing to change.
            from ansible_collections.pgherd.cluster.plugins.module_utils.pgherd.places.host.try_files import refuse

            refuse(todo, LocalRunner())
        apply_plan(module, todo, Disk())
        finish(module, todo, diff=diff(todo), changed_paths=list(todo.after))


if __name__ == "__main__":
    main()
