# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What modules of the collection promise, written once."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments pgherd.cluster.attributes, and pgherd.cluster.attributes.info for what changes nothing."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Foretells the change without making it. The forecast is the plan that a real run applies.
  diff_mode:
    support: full
    description: Shows the state before and after, without secrets.
  idempotent:
    support: full
    description: A second run with the same options changes nothing.
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Changes nothing, so runs the same in check mode.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
"""
