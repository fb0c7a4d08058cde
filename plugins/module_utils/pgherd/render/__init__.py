# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The texts that PostgreSQL, repmgr, Pgpool-II and Barman read: pure functions that know no path, owner or unit."""
