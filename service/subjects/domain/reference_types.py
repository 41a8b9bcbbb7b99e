"""The two kinds of subject, and the member of a request that shows each: rules P12, P13 and P17."""

VIDEO, IMAGE = "video_refer", "image_refer"
VIDEO_LIST, IMAGE_LIST = "element_video_list", "element_image_list"
