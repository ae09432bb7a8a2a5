"""Which of the rig's views a camera is: names of data sets and of fleets, and the cameras that a clip is made with.

NVIDIA's own names are understood without a word, for they contain the views' (`camera_cross_left_120fov`). Others are
told: a preset for a data set, or `NAME=VIEW` pairs for a fleet. A name counts in any case and punctuation.

Models of one view have a view of their own, `video`, which is no camera's in particular: as a preset it is whatever a
clip has one of, and `NAME=video` is one camera, beside which no other is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cosmos_ray.clip.request import VIDEO, VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.data_sets import DATA_SETS
from cosmos_ray.manifest.unknown_cameras import in_data_set, unknown_cameras, words_of

PRESETS = (*sorted(DATA_SETS), VIDEO)
#: Data sets of which every clip has every camera. Of the others people download the cameras that they need.
_WHOLE_RIGS = ("waymo", "nuscenes", "argoverse2")


@dataclass(frozen=True)
class CameraNames:
    """views: by a camera's name in words (lower case, joined by `_`), None where it is known and not used. rig: the
    views that every clip has a camera for, in rig order; None where each clip says so itself. one: of a model of one
    view, which names are that view: `any`, or just the `told` ones, and no other is used."""

    views: Mapping[str, str | None] = field(default_factory=dict)
    rig: tuple[str, ...] | None = None
    one: Literal["any", "told"] | None = None

    def view_of(self, name: str) -> str | None:
        """The view of a camera, folder or file of this name; None for one that is known and not used.

        A name that was told counts where the given one ends with it (`seg-1_FRONT_LEFT`), a view's own name wherever
        it stands in it. Of names inside each other the longer one counts: `camera_rear_left_70fov` is no `rear`.
        Raises UnknownCamerasError for none or several.
        """
        if self.one == "any":
            return VIDEO
        found = f"_{words_of(name)}_"
        fitting = {told: view for told, view in self.views.items() if found.endswith(f"_{told}_")}
        if self.one == "told":
            return max(fitting.items(), key=lambda one: len(one[0]), default=("", None))[1]
        fitting |= {view: view for view in VIEWS if f"_{view}_" in found and view not in fitting}
        longest = [
            told for told in fitting if not any(told != other and f"_{told}_" in f"_{other}_" for other in fitting)
        ]
        if len(longest) != 1:
            raise unknown_cameras({name: longest}, self.known)
        return fitting[longest[0]]

    @property
    def known(self) -> tuple[str, ...]:
        """Names that a camera's may hold."""
        return (*VIEWS, *(name for name in self.views if name not in VIEWS))

    def ends_with_one(self, name: str) -> bool:
        """Whether a file of this name is likely one camera's: `drive-1_front_wide`, `camera_rear_tele_30fov`."""
        if self.one == "any":
            return False
        known = "|".join((*self.views, *VIEWS))
        return re.search(rf"(?:^|_)(?:{known})(?:(?:_tele)?_\d+fov)?$", words_of(name)) is not None

    def ends_with_told(self, name: str) -> bool:
        """Whether a file's name ends with one that was told."""
        return any(words_of(name).endswith(f"_{told}") for told in self.views)

    def split(self, name: str) -> tuple[str, str | None] | None:
        """(clip, view) of a file's name that ends with a camera's, `drive-1_front_wide` or `drive-1.front_wide`; None
        for any other. A view of None is not used. Of names inside each other the longest is the camera's."""
        if self.one == "any":
            return None
        known = "|".join("[^a-z0-9]+".join(one.split("_")) for one in (*self.views, *VIEWS))
        nvidias = rf"(?:(?:(?:ftheta|pinhole)_)?camera_)?(?:{known})(?:(?:_tele)?_\d+fov)?"
        places = [re.fullmatch(rf"(.+?)[^a-z0-9]+({nvidias})", name, re.IGNORECASE), re.fullmatch(r"(.+)\.(.+)", name)]
        for found in filter(None, places):
            try:
                clip, view = found.group(1), self.view_of(found.group(2))
            except ManifestError:
                continue
            if view is not None or found is not places[1] or self.is_told(found.group(2)):
                return clip, view
        return None

    def views_named(self, found: object, where: str) -> tuple[str, ...]:
        """As `check_views`, of cameras under the names that were told, too."""
        names = _listed(found)
        if isinstance(names, list | tuple):
            names = [self.views.get(words_of(name), name) or name if isinstance(name, str) else name for name in names]
        if names == [VIDEO]:
            return (VIDEO,)
        unknown = [name for name in names if name not in VIEWS] if isinstance(names, list) else []
        return _checked(names, found, where, in_data_set([name for name in unknown if isinstance(name, str)]))

    def is_told(self, name: str) -> bool:
        """Whether exactly this name was told."""
        return words_of(name) in self.views


def camera_names(text: str | None) -> CameraNames:
    """What `--cameras` says: nothing, one of PRESETS, or `NAME=VIEW,...`, with `NAME=` for one not to be used.

    Raises ManifestError for anything else.
    """
    if not text:
        return CameraNames()
    if text == VIDEO:
        return CameraNames(rig=(VIDEO,), one="any")
    if "=" not in text:
        if text not in DATA_SETS:
            raise ManifestError(f"--cameras: found {text!r}, expected one of {', '.join(PRESETS)}, or NAME=VIEW,...")
        told = DATA_SETS[text]
        names = {words_of(name): view for name, view in told.items()}
        return CameraNames(names, in_rig_order(names.values()) if text in _WHOLE_RIGS else None)
    names = {}
    for pair in text.split(","):
        name, equals, view = (part.strip() for part in pair.partition("="))
        if not equals or not words_of(name) or (view and view not in (*VIEWS, VIDEO)):
            known = f"{', '.join(VIEWS)}, or `{VIDEO}` of a model of one view"
            raise ManifestError(f"--cameras: found {pair!r}, expected NAME=VIEW with a view of {known}")
        if words_of(name) in names:
            raise ManifestError(f"--cameras: found {name!r} twice, expected each camera once")
        names[words_of(name)] = view or None
    rig = in_rig_order(names.values())
    if VIDEO in rig and (len(rig) > 1 or list(names.values()).count(VIDEO) > 1):
        raise ManifestError(f"--cameras: found {text!r}, expected one camera of `{VIDEO}`, for a model of one view")
    return CameraNames(names, rig or None, "told" if rig == (VIDEO,) else None)


def view_of(name: str) -> str | None:
    """`CameraNames.view_of` where nobody has told any names."""
    return CameraNames().view_of(name)


def in_rig_order(views: Iterable[str | None]) -> tuple[str, ...]:
    """Those of VIEWS that are among `views`, or the view of a model of one."""
    found = set(views)
    return tuple(view for view in (*VIEWS, VIDEO) if view in found)


def check_views(found: object, where: str) -> tuple[str, ...]:
    """A list of cameras' views, in the order given. Raises ManifestError for none, an unknown and a repeated one."""
    return _checked(_listed(found), found, where)


def _checked(names: object, found: object, where: str, way_out: str = "") -> tuple[str, ...]:
    """found: what was given, for the error, of unknown names; way_out: its end."""
    if not isinstance(names, list | tuple) or not names or not all(name in VIEWS for name in names):
        raise ManifestError(f"{where}: found {found!r}, expected names of {', '.join(VIEWS)}{way_out}")
    if len(set(names)) < len(names):
        raise ManifestError(f"{where}: found {found!r}, expected each view once")
    return tuple(names)


def _listed(found: object) -> object:
    return [part for part in re.split(r"[\s,]+", found) if part] if isinstance(found, str) else found
