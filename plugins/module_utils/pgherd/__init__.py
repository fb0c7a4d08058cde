# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The core of pgherd: observe, decide, plan and apply for one PostgreSQL cluster.

Plain Python 3.9 that knows PostgreSQL, repmgr, Pgpool-II and Barman, and nothing of Ansible. The modules of the
collection, the node agent and the ``pgherd`` command are three front ends of it. Names without a leading underscore are
covered by the collection's semantic versioning.
"""
