"""A stand-in for the provider, built from its document and notes alone. Development only."""

from service.local.simulator.app import build
from service.local.simulator.options import Options, Settings
from service.local.simulator.server import run

__all__ = ["Options", "Settings", "build", "run"]
