"""The demo: twelve subjects through the whole service, with faults, in under a minute."""

from service.local.demo.command import run

__all__ = ["run"]
