"""The tests of dicomnode, and the tools they share."""
