"""Shared by the tests of the demo model: the shipped files in llama.cpp."""

from pathlib import Path

import pytest

from models.pipeline.evaluate import Runner

ROOT = Path(__file__).parents[2]
SHIPPED = {
    "spark": ROOT / "models/llamarelay/spark/spark-Q8_0.gguf",
    "spark-f16": ROOT / "models/llamarelay/spark/spark-F16.gguf",
    "spark-oss": ROOT / "models/llamarelay/spark-oss/spark-oss-Q8_0.gguf",
}


@pytest.fixture(scope="session")
def spark() -> Runner:
    return Runner(SHIPPED["spark"], context=8192)


@pytest.fixture(scope="session")
def spark_oss() -> Runner:
    return Runner(SHIPPED["spark-oss"], context=8192)


@pytest.fixture(scope="session", params=["spark", "spark_oss"])
def runner(request: pytest.FixtureRequest) -> Runner:
    """Each shipped model in turn."""
    return request.getfixturevalue(request.param)
