"""The smoke problem of the smaller studies."""

import dataclasses

from experiments.study import design


def smoke(folder):
    """The study's central cell, with one method."""
    return dataclasses.replace(design.centre(design.TABLES[0], folder, smoke=True), methods=("recommended",))
