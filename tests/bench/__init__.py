"""The benchmark: the node against DCMTK, Orthanc, stock pynetdicom and a yardstick, all real processes on loopback.

`python -m tests.bench` runs every scenario of `__main__`; a new one is one file with one class (scenario.Scenario), and
what is wanted of the node is in aims.py. Nothing of the package is imported. Servers listen on free ports, keep their
data in a temporary folder that is removed, and are ended by who started them. A figure is printed only where every
answer was checked: whatever a peer refuses, drops or loses ends the run with an error.
"""
