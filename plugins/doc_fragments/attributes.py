# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every module of the collection promises, written once."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment pgherd.cluster.attributes."""

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
