# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who becomes primary: validation, seal and promotion, switchover; the others after it."""
