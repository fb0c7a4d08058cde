# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What breaks a cluster of test hosts, and what then has to be true of it."""
