"""dicomnode: a DICOM node that takes custody of studies and carries each referred one, one way, with proof.

The house has nine rungs, and a module imports from its own rung or a lower one:
errors ‹ dicom ‹ config ‹ rules ‹ store ‹ operations ‹ net ‹ run ‹ cli.
"""

__version__ = "0.1.0"
