"""Reading a request: who asks, and what; everything bounded before it is believed."""

from urllib.parse import urlsplit

from starlette.requests import Request

from service.resources import Resources


def resources(request: Request) -> Resources:
    """What `app.build` was given."""
    found: Resources = request.app.state.resources
    return found


def public_path(request: Request, path: str) -> str:
    """A path of ours as callers have it: PUBLIC_URL may have one too, which a proxy takes off."""
    return urlsplit(resources(request).settings.public_url).path + path
