# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""One file per program: its commands, output, exit codes and versions, and nothing else."""
