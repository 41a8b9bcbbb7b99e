"""A stand-in for the provider, built from service/provider/README.md alone. Development only."""

from service.local.simulator.app import build
from service.local.simulator.options import Options, Settings
from service.local.simulator.server import run

__all__ = ["Options", "Settings", "build", "run"]
