"""Task records as the provider sends them, in both shapes, and their subject as we keep it."""

from typing import Any

BIG = 829836802793406551  # above 2**53: a float would end in 552

ELEMENT: dict[str, Any] = {
    "element_id": BIG,
    "element_name": "Mira",
    "element_description": "A fencer in white",
    "reference_type": "video_refer",
    "element_image_list": {"frontal_image": "https://p.example.com/1.png"},
    "element_voice_info": {
        "voice_id": "829836802793406000",
        "voice_name": "Mira's",
        "trial_url": "https://p.example.com/v.mp3",
        "owned_by": "kling",
    },
    "tag_list": [{"id": "o_102", "name": "person", "description": "A person"}],
    "owned_by": "7788",
    "status": "succeed",
}
LEGACY_RECORD: dict[str, Any] = {
    "task_id": "831922345719271433",
    "task_status": "succeed",
    "task_status_msg": "",
    "task_info": {"external_task_id": "sub_01"},
    "task_result": {"elements": [ELEMENT]},
    "final_unit_deduction": "1.5",
    "created_at": 1781080778802,
    "updated_at": 1781080794151,
}
CURRENT_RECORD: dict[str, Any] = {
    "id": "831922345719271433",
    "status": "succeeded",
    "message": "",
    "create_time": 1781080778802,
    "update_time": 1781080794151,
    "external_id": "sub_01",
    "outputs": [
        {"type": "video", "id": "1"},
        {
            "type": "element",
            "id": str(BIG),
            "name": "Mira",
            "description": "A fencer in white",
            "element_type": "video_character_elements",
            "materials": [
                {"type": "video", "role": "refer", "url": "https://p.example.com/1.mp4"},
                {
                    "type": "voice",
                    "id": "829836802793406000",
                    "name": "Mira's",
                    "url": "https://p.example.com/v.mp3",
                },
            ],
            "owned_by": "7788",
            "status": "succeed",
            "tags": [{"id": 102, "name": "person", "description": "A person"}],
        },
    ],
    "billing": {"final_unit_deduction": "1.5"},
}
RESULT: dict[str, Any] = {
    "element_id": str(BIG),
    "element_name": "Mira",
    "element_description": "A fencer in white",
    "reference_type": "video_refer",
    "voice": {
        "voice_id": "829836802793406000",
        "voice_name": "Mira's",
        "trial_url": "https://p.example.com/v.mp3",
        "owned_by": "kling",
    },
    "tags": [{"id": "o_102", "name": "person", "description": "A person"}],
    "owned_by": "7788",
    "final_unit_deduction": "1.5",
    "provider_created_at": "2026-06-10T08:39:38.802Z",
    "provider_updated_at": "2026-06-10T08:39:54.151Z",
}
