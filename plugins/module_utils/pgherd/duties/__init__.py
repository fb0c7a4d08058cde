# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a node's agent does about itself, decided anew at each look: fence, follow, slots. Pure."""
