"""The proof that nothing is lost: real processes under load and under fire, checked from outside. `make chaos`."""
