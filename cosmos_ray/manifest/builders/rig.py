"""Which cameras a row is made with: as the row says, as the command says, or as many as there are inputs for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cosmos_ray.clip.request import VIDEO, VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.notes import Notes
from cosmos_ray.manifest.cameras import CameraNames, camera_names, in_rig_order
from cosmos_ray.manifest.unknown_cameras import Unknown
from cosmos_ray.words import counted


@dataclass(frozen=True)
class Rig:
    """names: of the cameras. asked: the views that every row is made with, in this order; None: each row's own.
    as_number: the command said how many, not which."""

    names: CameraNames
    asked: tuple[str, ...] | None = None
    as_number: bool = False

    @property
    def is_one_view(self) -> bool:
        """Rows are for models of one view."""
        return self.asked == (VIDEO,)

    def views_of(self, row: dict[str, Any], found: Iterable[str], where: str) -> tuple[str, ...] | None:
        """The views that the row is made with; None for the model's own. They are written into the row, as `views`
        or `n_views`, where it does not say them itself.

        found: views that there are inputs for. Raises ManifestError for words of the row that make no sense.
        """
        number = _number(row.get("n_views"), where)
        if self.is_one_view:
            return self._one_view(row, number, where)
        if row.get("views") is not None:
            views = self.names.views_named(row["views"], f"{where}: `views`")
            if views == (VIDEO,):
                raise ManifestError(
                    f"{where}: `views` is that of a model of one view: `--cameras {VIDEO}` is for those"
                )
            if number not in (None, len(views)):
                raise ManifestError(f"{where}: `n_views` is {number}, expected {len(views)}, as many as its `views`")
            row["views"] = list(views)
            return views
        if number is not None:
            return VIEWS[:number]
        views = self.asked or in_rig_order(found)
        if self.as_number:
            row["n_views"] = len(views)
        elif views and views != VIEWS:
            row["views"] = list(views)
        return views or None

    def as_inputs(self, videos: Mapping[str, str]) -> dict[str, Any]:
        """Columns of a row that has these videos, by view."""
        return {"input_video": videos[VIDEO]} if self.is_one_view else {"input_videos": dict(videos)}

    def _one_view(self, row: dict[str, Any], number: int | None, where: str) -> tuple[str, ...]:
        """A row for a model of one view need not say so: the model has no other, whatever it calls it."""
        said = row.pop("views", None)
        if number not in (None, 1) or (
            said is not None and self.names.views_named(said, f"{where}: `views`") != (VIDEO,)
        ):
            asked = f"`views` {said!r}" if said is not None else f"`n_views` {number}"
            raise ManifestError(f"{where}: found {asked}, expected one, `{VIDEO}`, as `--cameras` says")
        return (VIDEO,)


def rig_of(cameras: str | None = None, views: str | None = None, n_views: int | None = None) -> Rig:
    """What `--cameras`, `--views` and `--n-views` say together. Raises ManifestError."""
    if views is not None and n_views is not None:
        raise ManifestError("--views and --n-views: found both, expected one of them")
    names = camera_names(cameras or (VIDEO if views == VIDEO else None))
    if names.one is not None:
        if views not in (None, VIDEO) or n_views not in (None, 1):
            raise ManifestError(
                f"--views, --n-views: found others than `{VIDEO}`, the one view that --cameras tells of"
            )
        return Rig(names, names.rig)
    if n_views is not None:
        return Rig(names, VIEWS[: _number(n_views, "--n-views")], as_number=True)
    return Rig(names, names.rig if views is None else names.views_named(views, "--views"))


def in_order(
    found: Mapping[str, Any], views: tuple[str, ...], where: str, notes: Notes, what: str = "videos"
) -> dict[str, Any]:
    """The inputs of these views, in their order. Raises ManifestError where one is missing; surplus is a warning."""
    missing = [view for view in views if view not in found]
    surplus = ", ".join(in_rig_order(set(found) - set(views)))
    if missing:
        share = f" ({len(missing)} of {counted(len(views), 'camera')})"
        raise ManifestError(
            f"{where}: found {what} of {', '.join(in_rig_order(found)) or 'no camera'}; missing {', '.join(missing)}"
            f"{share}{surplus and f', and not asked for {surplus}'} (`--views` says which cameras to make)"
        )
    if surplus:
        notes.warn("clips with cameras that are not asked for, whose inputs are not used", f"{where}: {surplus}")
    return {view: found[view] for view in views}


def by_camera(found: Mapping[str, Any], rig: Rig, where: str) -> dict[str, Any]:
    """{view: value} of {camera: value}; what says nothing, and cameras that are not used, are left out.

    Raises ManifestError for names that are no camera's, and for two of one view.
    """
    views: dict[str, str] = {}
    unknown = Unknown(rig.names)
    named = {camera: unknown.view_of(camera, where) for camera in found}
    unknown.check()
    for camera, value in found.items():
        view = named[camera]
        if value is None or view is None:
            continue
        if view in views:
            raise ManifestError(f"{where}: two cameras for the view {view}, `{views[view]}` and `{camera}`")
        views[view] = camera
    return {view: found[camera] for view, camera in views.items()}


def check_alike(found: Iterable[tuple[str, Iterable[str]]], notes: Notes | None = None) -> None:
    """(clip, views that it has inputs of): a view that some have and others lack is taken for a file that is missing.

    Raises ManifestError that names the first; with `notes`, counts them as a warning.
    """
    by_clip = [(where, in_rig_order(views)) for where, views in found]
    most = in_rig_order(view for _, views in by_clip for view in views)
    for where, views in by_clip:
        missing = ", ".join(view for view in most if view not in views)
        if not views or not missing:
            continue
        if notes is None:
            raise ManifestError(
                f"{where}: found inputs of {', '.join(views)}; missing {missing}, which other clips have "
                "(`--views`, or `views` of the clip itself, says which cameras to make)"
            )
        notes.warn("clips without some cameras that others have, made without them", f"{where}: {missing}")


def _number(found: object, where: str) -> int | None:
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= len(VIEWS):
        raise ManifestError(f"{where}: `n_views` is {found!r}, expected 1 to {len(VIEWS)}")
    return found
