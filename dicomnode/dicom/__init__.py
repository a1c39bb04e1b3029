"""What we know of DICOM data, free of network and disk layout."""
