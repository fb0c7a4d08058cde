# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""How the core reaches the world: commands, SQL, services. Tests script these."""
