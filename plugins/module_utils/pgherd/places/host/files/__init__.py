# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Every file on a host: texts of files/, with path, owner and mode, and units, sudo's rules and apt's source."""
