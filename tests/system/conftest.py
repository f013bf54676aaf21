"""Fixtures of the system tests; what they are made of is in system_program.py."""

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than half a minute")


@pytest.fixture
def folder(tmp_path):
    """An empty folder for one test's files, results apart from inputs."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    return tmp_path
