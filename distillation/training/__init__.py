"""One loop that trains one network, in steps that can be interrupted."""
