# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Where a node runs: one folder for each kind of place, and nothing outside them knows which one it is."""
