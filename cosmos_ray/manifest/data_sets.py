"""What public data sets call their cameras, as far as that is not our views' own names."""

from __future__ import annotations

#: {data set: {its camera: our view, None for a camera that no view is like}}. What is not obvious: Argoverse 2 looks
#: aside twice on each hand (45 and 99 degrees); the first is what cross sees in other data sets, and what is left for
#: rear_right and rear_left are its cameras at 153 degrees. Its stereo pair looks ahead, as front_wide does.
DATA_SETS: dict[str, dict[str, str | None]] = {
    "waymo": {
        "FRONT": "front_wide",
        "FRONT_RIGHT": "cross_right",
        "SIDE_RIGHT": "rear_right",
        "SIDE_LEFT": "rear_left",
        "FRONT_LEFT": "cross_left",
    },
    "nuscenes": {
        "CAM_FRONT": "front_wide",
        "CAM_FRONT_RIGHT": "cross_right",
        "CAM_BACK_RIGHT": "rear_right",
        "CAM_BACK": "rear",
        "CAM_BACK_LEFT": "rear_left",
        "CAM_FRONT_LEFT": "cross_left",
    },
    "argoverse2": {
        "ring_front_center": "front_wide",
        "ring_front_right": "cross_right",
        "ring_rear_right": "rear_right",
        "ring_rear_left": "rear_left",
        "ring_front_left": "cross_left",
        "ring_side_right": None,
        "ring_side_left": None,
        "stereo_front_left": None,
        "stereo_front_right": None,
    },
    "physicalai-av": {},
    "rds-hq": {
        "pinhole_front": "front_wide",
        "pinhole_front_right": "cross_right",
        "pinhole_side_right": "rear_right",
        "pinhole_side_left": "rear_left",
        "pinhole_front_left": "cross_left",
    },
}
