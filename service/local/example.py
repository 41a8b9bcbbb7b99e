"""The example request of `callsheet dev`: an image subject with drawn images."""

import base64
import io
import json
from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 400  # pixels; rule P16 asks for 300 at least


def write_example(path: Path) -> Path:
    """Write a body of `POST /v1/subjects` with two PNGs to the file."""
    body = {
        "element_name": "A red ball",
        "element_description": "A ball, seen from the front and from above",
        "reference_type": "image_refer",
        "element_image_list": {
            "frontal_image": _picture("red"),
            "refer_images": [{"image_url": _picture("darkred")}],
        },
        "tag_list": [{"tag_id": "o_104"}],
    }
    path.write_text(json.dumps(body))
    return path


def _picture(colour: str) -> str:
    """A PNG in Base64, without a data: prefix (rule P15)."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).ellipse((40, 40, SIDE - 40, SIDE - 40), fill=colour)
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
