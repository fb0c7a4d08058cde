# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One PostgreSQL server as a node of the cluster: instance, clone, repmgr's registration."""
