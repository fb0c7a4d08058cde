# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One data directory while its server is down, or beside it: control data, WAL and histories, postmaster, copies."""
