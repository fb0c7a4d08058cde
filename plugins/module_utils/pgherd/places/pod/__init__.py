# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""A pod: process 1 starts what runs as its children, and has no service manager, no root and no address that stays."""
