"""Tests of matlode, one folder per room.

``command_line`` runs commands in this process; fixtures that several rooms share are in
``conftest``.
"""

import os

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
"""The name of this process where several run tests."""

# Cores are busy with other processes that test; threads that share them wait for each other in
# loops, for several times the work. Libraries read these when they are imported, hence here.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# where more are asked for by number, they sleep
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
