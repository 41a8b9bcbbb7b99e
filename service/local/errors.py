"""What can go wrong in setting up a machine for development or tests."""


class LocalError(Exception):
    """Something that development needs could not be had; the first line says what."""
