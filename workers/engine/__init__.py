"""Runs models. Only this package knows llama.cpp."""

import os

# llama.cpp's threads meet at a barrier after every operation. libgomp lets those that wait spin for milliseconds, with
# which they take the core from the thread they wait for, when another process is on the machine too; measured on two
# busy cores: 20 ms a step instead of 9. So they spin for some microseconds only, then sleep; on an idle machine this
# costs nothing measurable. libgomp reads it when llama.cpp is first imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
