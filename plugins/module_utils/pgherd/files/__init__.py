# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What every file on a host holds, rendered from the Cluster, and how files come onto the disk."""
