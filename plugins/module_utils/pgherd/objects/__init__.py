# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What lives inside PostgreSQL: roles, grants, databases, replication slots."""
