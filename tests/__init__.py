"""Tests of matlode, one folder per room.

``command_line`` runs commands in this process; fixtures that several rooms share are in
``conftest``.
"""

import os

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
"""The name of this process where several run tests."""

if WORKER:
    # a process per core: threads of their own would only wait for each other. Libraries read
    # these when they are imported, hence here, before any test is.
    for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(_variable, "1")
