# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""The process on every host: its loop, its parts, its HTTP endpoint."""
