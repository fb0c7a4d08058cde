# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Writers with unique ids, an observer that looks for two primaries, and the verdict on what both wrote down."""
