# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""What a cluster of pods is in Kubernetes, as plain data: one builder for each kind, and no word to the API server."""
