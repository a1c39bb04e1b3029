"""A power cut, replayed: what a node did to its disk is recorded once, and cut off at every point.

    strace.py      a command under strace, and its system calls, read back
    recording.py   a whole node that takes ten instances into custody: every write, sync, rename and answer in order
    disk.py        what of it is on the platter, and what is not
    replay.py      the folders that a power cut may leave at each point, the node's recovery on them, and what is lost
    order.py       the same recording without a disk: was everything synced in the right order before each 0000H?

`python -m tests.power` plays every point with every variant; a part of them runs with the other tests.
"""
