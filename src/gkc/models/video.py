"""GKC for video: one set of queries looks for its regions in all frames of a clip at once."""

from __future__ import annotations

from torch import Tensor

from gkc.errors import ShapeError
from gkc.models.gkc import Encoded, Gkc
from gkc.nn.mask_decoder import split_frames
from gkc.structures import MaskOutput
from gkc.text.bank import TextBank


class VideoGkc(Gkc):
    """Tubes and class scores of a clip for any vocabulary: Video Mask2Former with GKC's text head.

    Trunk and pixel decoder see every frame as an image. Each query attends to the tokens of all frames inside its own
    mask, and stands for one region of the clip: its mask is a tube, and it has one embedding, so one class for the
    whole clip. Which region is which in the next frame needs no tracker.

    The parameters are those of `Gkc`, by the same names: the weights of an image model are a clip model to begin with.
    A clip of one frame, or an image without a time axis, gives exactly what the image model gives.

    Source: GKC section 7; Mask2Former for Video Instance Segmentation (Cheng et al., 2021).
    """

    def encode(self, images: Tensor) -> Encoded:
        """Everything that does not depend on names, from clips [B, T, 3, H, W] in 0..1, sides multiples of 32.

        Mask logits are tubes [B, Q, T, h, w], pixels [B, C, T, h', w']. Images [B, 3, H, W] are as in `Gkc.encode`.

        Raises:
            ShapeError: neither clips nor images.
        """
        if images.dim() == 4:
            return super().encode(images)
        if images.dim() != 5:
            raise ShapeError(f"clips are {list(images.shape)}: give [B, T, 3, H, W], or images [B, 3, H, W]")
        frames = images.shape[1]
        encoded = self._decode(self._features(images.flatten(0, 1)), frames)
        layers = [row._replace(mask_logits=split_frames(row.mask_logits, frames)) for row in encoded.layers]
        return Encoded(layers, None if encoded.pixels is None else split_frames(encoded.pixels, frames))

    def forward(self, images: Tensor, bank: TextBank[Tensor]) -> MaskOutput[Tensor]:
        """Scores of clips [B, T, 3, H, W], or of images, against the vocabulary of `bank`.

        Of clips, `mask_logits` [B, Q, T, h, w] and `dense_logits` [B, K, T, h', w'] have a time axis; `class_logits`
        [B, Q, K + 1] and `queries` hold for the whole clip.
        """
        return super().forward(images, bank)
