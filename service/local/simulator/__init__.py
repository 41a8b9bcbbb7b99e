"""A simulator of the provider, built from service/provider/README.md alone, for development."""

from service.local.simulator.app import build
from service.local.simulator.options import Options, Settings
from service.local.simulator.server import run

__all__ = ["Options", "Settings", "build", "run"]
