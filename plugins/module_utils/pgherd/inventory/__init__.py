# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""From what the inventory says to one Cluster, or to one sentence for each mistake. Runs on the control machine."""
