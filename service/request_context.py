"""What a request handler needs to know of the application that it runs in."""

from urllib.parse import urlsplit

from service.kit.http.request import Request
from service.resources import Resources


def resources(request: Request) -> Resources:
    """The resources that `app.build` was given."""
    found: Resources = request.app.state.resources
    return found


def public_path(request: Request, path: str) -> str:
    """A path as callers see it: behind that of PUBLIC_URL, which a reverse proxy strips."""
    return urlsplit(resources(request).settings.public_url).path + path
