"""dicomnode: a DICOM node that takes custody of studies and carries each referred one, one way, with proof.

The house has nine rungs, and a module imports from its own rung or a lower one:
errors ‹ dicom ‹ config ‹ rules ‹ store ‹ operations ‹ net ‹ run ‹ cli.
"""

import sys

# pydicom loads this decoder wherever it is installed: 20 MB and a tenth of a second, in each process, for what only the
# one that decompresses has a use for (net/decoding.py).
sys.modules.setdefault("gdcm", None)  # type: ignore[arg-type]

__version__ = "0.1.0"
