"""The reference types of subjects, and the request field that each needs: rules P12, P13, P17."""

VIDEO, IMAGE = "video_refer", "image_refer"
VIDEO_LIST, IMAGE_LIST = "element_video_list", "element_image_list"
