"""What a user may ask of the fit of photographs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from facekit.errors import UsageError
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.masks import CELEBA_FACE, MaskSource, Segmentation
from facekit.fit.scale import film_focal_px
from facekit.geometry.cameras import intrinsics_from_fov


@dataclass(frozen=True)
class FitOptions:
    """Everything that changes what a photograph's result is.

    Attributes:
        model: ``builtin`` or a model file.
        landmarks: source of boxes and landmarks.
        allow_download: let optional packages download their own weights.
        largest: only the largest face of each photograph.
        min_face: side in pixels of the smallest face looked for, in tiles of the photograph at
            full size; 0 searches the whole view only.
        focal_px: known focal length in pixels of the file; focal_35mm: as the equivalent for
            36 x 24 mm film, over the diagonal; fov_deg: as the angle over the longer side. At
            most one is not 0; else EXIF says it, or the fit estimates it.
        distance_mm: known distance from the camera to the bridge between the eyes, 0 for none.
        mirrored: the photographs show people as in a mirror; results are the way they are.
        unit: unit of OBJ files.
        texture: ``fast`` projects the photograph; other names are those of the ``texturer`` that
            ``fit_photos`` is given.
        texture_size: side of the texture in pixels; 0 takes 1024, or the texturer's own choice.
        posterior_samples: identities drawn from the posterior and written, 0 for none.
        seed: seed of those draws.
        uncertainty: also draw how sure each part of the face is.
        landmark_fit: settings of the solver.
        photometric: also fit the pixels.
        first_order: a published Adam schedule instead, or empty; renderer: that it draws through.
        masks: folder of masks of the photographs' pixels, by their names; empty looks beside each
            for ``STEM.mask.png``. segmentation: a network file that makes masks, ``face_labels``
            its classes that are face, ``segmentation_range`` how its input is scaled; see
            ``fit.masks``. They count where pixels are fitted.
        network: what sees a face before it is fitted: ``auto``, ``none`` or a file.
    """

    model: str = "builtin"
    landmarks: str = "auto"
    allow_download: bool = False
    largest: bool = False
    min_face: float = 0.0
    focal_px: float = 0.0
    focal_35mm: float = 0.0
    fov_deg: float = 0.0
    distance_mm: float = 0.0
    mirrored: bool = False
    unit: str = "mm"
    texture: str = "fast"
    texture_size: int = 0
    posterior_samples: int = 0
    seed: int = 0
    uncertainty: bool = False
    landmark_fit: LandmarkFitConfig = field(default_factory=LandmarkFitConfig)
    photometric: bool = False
    first_order: str = ""
    renderer: str = "builtin"
    masks: str = ""
    segmentation: str = ""
    face_labels: tuple[int, ...] = CELEBA_FACE
    segmentation_range: str = "imagenet"
    network: str = "auto"

    def __post_init__(self) -> None:
        given = [v for v in (self.focal_px, self.focal_35mm, self.fov_deg) if v]
        if len(given) > 1:
            raise UsageError("focal length: expected one of pixels, 35 mm equivalent and angle")
        if min(self.focal_px, self.focal_35mm, self.distance_mm) < 0 or not (
            0 <= self.fov_deg < 180
        ):
            raise UsageError(
                "camera: expected a positive focal length and distance, an angle under 180"
            )

        if (self.masks or self.segmentation) and not (self.photometric or self.first_order):
            raise UsageError(
                "masks: weigh pixels, and this fit looks at landmarks alone; add --photometric or "
                "--preset best"
            )

    @property
    def mask_source(self) -> MaskSource | None:
        """Where masks come from, or None where no pixels are fitted."""
        if not (self.photometric or self.first_order):
            return None
        network = None
        if self.segmentation:
            path = Path(self.segmentation)
            network = Segmentation(path, tuple(self.face_labels), self.segmentation_range)
        return MaskSource(Path(self.masks) if self.masks else None, network)

    def given_focal(self, width: int, height: int) -> float | None:
        """Return the focal length that the options say, in pixels of the file, or None."""
        if self.focal_35mm:
            return film_focal_px(self.focal_35mm, width, height)
        if self.fov_deg:
            return float(intrinsics_from_fov(width, height, self.fov_deg)[0, 0])
        return self.focal_px or None
