"""Task records as the provider sends them: in responses, and in both shapes of a callback (rules
P8, P9, P71, P72)."""

from typing import Any

from service.local.simulator import media
from service.local.simulator.options import CallbackShape
from service.local.simulator.tasks import Task

TAG_NAMES = {  # rule P23
    "o_101": "meme",
    "o_102": "person",
    "o_103": "animal",
    "o_104": "prop",
    "o_105": "costume",
    "o_106": "scene",
    "o_107": "effect",
    "o_108": "other",
}
CURRENT_STATUSES = {"succeed": "succeeded"}
OWNER = "simulator"


def status_word(task: Task) -> str:
    """The word that stands for the task's status in a record."""
    return task.fault.words.get(task.status, task.status)


def created_record(task: Task) -> dict[str, Any]:
    """`data` of the response to a create."""
    return {
        "task_id": task.id,
        "task_info": {"external_task_id": task.external_task_id},
        "task_status": status_word(task),
        "created_at": task.created_at,
        "updated_at": task.updated_at,
    }


def legacy_record(task: Task) -> dict[str, Any]:
    """`data` of the response to a query, and the body of a callback in the legacy shape."""
    record = {**created_record(task), "task_status_msg": task.message}
    if task.status == "succeed":
        record["task_result"] = {"elements": [_element(task)]}
    if task.units is not None:
        record["final_unit_deduction"] = task.units
    return record


def current_record(task: Task) -> dict[str, Any]:
    """The body of a callback in the current shape."""
    record: dict[str, Any] = {
        "id": task.id,
        "status": task.fault.words.get(task.status, CURRENT_STATUSES.get(task.status, task.status)),
        "message": task.message,
        "create_time": task.created_at,
        "update_time": task.updated_at,
        "outputs": [],
    }
    if task.external_task_id:
        record["external_id"] = task.external_task_id
    if task.status == "succeed":
        record["outputs"] = [_output(task)]
    if task.units is not None:
        record["billing"] = {"final_unit_deduction": task.units}
    return record


def callback_record(task: Task, shape: CallbackShape) -> dict[str, Any]:
    """The body of a callback in this shape."""
    return current_record(task) if shape == "current" else legacy_record(task)


def tags(task: Task) -> list[dict[str, str]]:
    """The tags as a record names them: `id` where a request says `tag_id`."""
    ids = [tag["tag_id"] for tag in task.request.get("tag_list") or []]
    return [
        {"id": tag_id, "name": TAG_NAMES[tag_id], "description": TAG_NAMES[tag_id]}
        for tag_id in ids
    ]


def element_status(task: Task) -> str:
    """The status of the element that the task made (rule P33)."""
    return "deleted" if task.is_deleted else "succeed"


def _element(task: Task) -> dict[str, Any]:
    request = task.request
    element = {
        "element_id": task.element_id,
        "element_name": request["element_name"],
        "element_description": request["element_description"],
        "reference_type": request["reference_type"],
        "element_image_list": request.get("element_image_list"),
        "element_video_list": request.get("element_video_list"),
        "tag_list": tags(task),
        "owned_by": OWNER,
        "status": element_status(task),
    }
    if request.get("element_voice_id"):
        element["element_voice_info"] = {
            "voice_id": request["element_voice_id"],
            "voice_name": "a voice",
            "trial_url": "https://media.invalid/voice.mp3",
            "owned_by": OWNER,
        }
    return element


def _output(task: Task) -> dict[str, Any]:
    by_video = task.request["reference_type"] == "video_refer"
    kind = "video" if by_video else "image"
    given = media.video_fields(task.request) if by_video else media.image_fields(task.request)
    return {
        "type": "element",
        "id": task.element_id,
        "name": task.request["element_name"],
        "description": task.request["element_description"],
        "element_type": "video_character_elements" if by_video else "multi_image_elements",
        "materials": [
            {"type": kind, "role": where.partition("[")[0], "url": url} for where, url in given
        ],
        "owned_by": OWNER,
        "status": element_status(task),
        "tags": tags(task),
    }
