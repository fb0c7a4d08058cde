# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A host: systemd starts what runs, root owns what is configured, sudo lets the agent at both, apt brings programs."""
