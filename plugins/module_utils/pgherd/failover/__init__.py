# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who may be primary: start guard, validation, seal and promotion, fence, rejoin. Decisions are pure, procedures small."""
