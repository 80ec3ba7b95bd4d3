"""The Redis protocol: everything that front ends and workers say to each other."""
