# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Who belongs to the cluster and who may be elected: removal, and the stages of another count."""
