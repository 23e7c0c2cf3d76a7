"""From a network that has learned to the file that ships: calibrated, quantised, checked, described."""
