"""The benchmark: the node against DCMTK and Orthanc, all of them real processes on this machine.

`python -m tests.bench` runs every scenario of `__main__.SCENARIOS`; a new one is one file with one class
(scenario.Scenario). Nothing of the package is imported. Servers listen on free loopback ports, keep their data in a
temporary folder that is removed, and are ended by who started them. A figure is printed only where every answer was
checked: whatever a peer refuses, drops or loses ends the run with an error.
"""
