"""What the examples show: all of it is made up."""

from typing import Any

from service.core.kinds import IMAGE, VIDEO

# 300 x 300 pixels of one shade each, as PNG: the smallest pictures that keep the rules.
FRONTAL = (
    "iVBORw0KGgoAAAANSUhEUgAAASwAAAEsAQAAAABRBrPYAAAAIklEQVR42u3BMQEAAADCoPVPbQo/oAAAAAAA"
    "AAAAAAAAeBkttAABAZVTBAAAAABJRU5ErkJggg=="
)
CLOSE_UP = (
    "iVBORw0KGgoAAAANSUhEUgAAASwAAAEsAQAAAABRBrPYAAAAPElEQVR42u3KMQEAAAwCIPuX1grbDzfpSTRN"
    "0zRN0zRN0zRN0zRN0zRN0zRN0zRN0zRN0zRN0zRN07R/G8nXXg0flNH3AAAAAElFTkSuQmCC"
)

BY_URL: dict[str, Any] = {
    "element_name": "Ada",
    "element_description": "A pilot in a red jacket, short grey hair",
    "reference_type": IMAGE,
    "element_image_list": {
        "frontal_image": "https://media.example.com/ada/front.jpg",
        "refer_images": [
            {"image_url": "https://media.example.com/ada/left.jpg"},
            {"image_url": "https://media.example.com/ada/close.png"},
        ],
    },
    "tag_list": [{"tag_id": "o_102"}],
    "external_task_id": "ada-1",
}
IN_BASE64: dict[str, Any] = {
    "element_name": "Tin robot",
    "element_description": "A wind-up toy, green, one arm missing",
    "reference_type": IMAGE,
    "element_image_list": {
        "frontal_image": FRONTAL,
        "refer_images": [{"image_url": f"data:image/png;base64,{CLOSE_UP}"}],
    },
    "callback_url": "https://backend.example.com/provider-callbacks",
}
BY_VIDEO: dict[str, Any] = {
    "element_name": "Grace",
    "element_description": "Speaks slowly, looks into the camera",
    "reference_type": VIDEO,
    "element_video_list": {
        "refer_videos": [{"video_url": "https://media.example.com/grace/take-3.mp4"}]
    },
    "element_voice_id": "voice-42",
    "external_task_id": "grace-1",
}
SUBJECT: dict[str, Any] = {
    "id": "sub_01kcr4v2m8h0x5q7s9t3w6y1za",
    "external_task_id": "ada-1",
    "provider_task_id": "880000000000000001",
    "state": "succeeded",
    "version": 4,
    "reference_type": IMAGE,
    "element_name": "Ada",
    "element_description": "A pilot in a red jacket, short grey hair",
    "element_voice_id": None,
    "tag_list": [{"tag_id": "o_102"}],
    "subject": {"element_id": "770000000000000001", "element_name": "Ada"},
    "usable_with": ["kling-video-o1", "kling-v3-omni", "kling-video-o3", "kling-v3"],
    "error": None,
    "created_at": "2026-11-22T12:00:00.000Z",
    "updated_at": "2026-11-22T12:00:06.250Z",
    "finished_at": "2026-11-22T12:00:06.250Z",
}
SUBJECTS = {
    "images_by_url": ("Images by URL", BY_URL),
    "images_in_base64": ("Images in Base64, with and without `data:`", IN_BASE64),
    "video": ("A video, and a voice", BY_VIDEO),
}
TASKS = {
    "images": ("Images by URL", BY_URL | {"external_task_id": "ada-2"}),
    "video": ("A video", BY_VIDEO | {"external_task_id": "grace-2"}),
}
BATCH = {"two": ("Two requests", {"subjects": [BY_URL, BY_VIDEO]})}
SUBSCRIBERS = {
    "plain": ("All events", {"url": "https://backend.example.com/callsheet"}),
    "narrowed": (
        "Some events, with a header, on a schedule of its own, signed twice",
        {
            "url": "https://backend.example.com/subjects",
            "description": "the renderer",
            "event_types": ["subject.succeeded", "subject.failed"],
            "reference_types": [VIDEO],
            "tags": ["o_102", "o_103"],
            "headers": {"x-team": "renderer"},
            "timeout": 10,
            "schedule": [5, 60, 600],
            "concurrency": 4,
            "rate": 20,
            "signatures": ["v1", "v1a"],
        },
    ),
    "nats": (
        "A stream of NATS",
        {
            "type": "nats",
            "url": "tls://nats.example.com",
            "channel": "callsheet.events",
            "username": "callsheet",
            "password": "not a real password",
            "format": "cloudevents",
        },
    ),
    "redis_stream": (
        "A stream of Redis",
        {"type": "redis_stream", "url": "rediss://redis.example.com/0", "channel": "callsheet"},
    ),
}
CHANGES = {
    "pause": ("Let what happens wait", {"state": "paused"}),
    "widen": ("Hear of everything again", {"event_types": None, "tags": None, "state": "active"}),
}
ROTATIONS = {
    "as_usual": ("A new secret; the old one signs beside it for a day", {}),
    "at_once": ("The old one signs no more", {"overlap": 0}),
}
REPLAYS = {
    "count": (
        "How many it never got",
        {"since": "2026-01-01T00:00:00Z", "only": "missing", "dry_run": True},
    ),
    "send": (
        "Send again what was given up",
        {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00+01:00", "only": "failed"},
    ),
}
CALLBACKS = {
    "older": (
        "The older shape",
        {
            "task_id": "880000000000000001",
            "task_status": "processing",
            "task_status_msg": "",
            "created_at": 1795348800000,
            "updated_at": 1795348803000,
            "task_info": {"external_task_id": "sub_01kcr4v2m8h0x5q7s9t3w6y1za"},
        },
    ),
    "newer": (
        "The newer shape, as the console's test sends it",
        {
            "id": "880000000000000002",
            "status": "submitted",
            "message": "",
            "create_time": 1795348800000,
            "update_time": 1795348800000,
            "outputs": [],
        },
    ),
}
