"""The training images of a batch, on the device; where not all of them fit there, a batch ahead.

Images that stay in the host's memory, or in a mapped file, are gathered by a thread and copied
while the device works on the batch before. The batches are the same, bit for bit.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from adv.data.datasets import Split

DEVICE_SHARE = 0.5  # Of a GPU's free memory that training images may take: nets need the rest.


def place(split: Split, device: torch.device) -> Split:
    """Return the split on a device; its images stay where they are if they are too many for it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if split.images.nbytes > DEVICE_SHARE * free:
            return Split(split.images, split.labels.to(device))
    return split.to(device)


class ImageFetcher:
    """Gathers images by their indices, and brings them to the device.

    Args:
      images: bytes [n, c, h, w], on the device or on the host.
      device: where they are needed.
      ahead: fetch the images that were announced in a thread; only worth it for images on the host.
    """

    def __init__(self, images: Tensor, device: torch.device, *, ahead: bool) -> None:
        self.images, self.device, self.ahead = images, device, ahead
        self._thread = ThreadPoolExecutor(1, "images") if ahead else None
        self._stream = torch.cuda.Stream(device) if ahead and device.type == "cuda" else None
        self._coming: tuple[Tensor, Future[Tensor]] | None = None

    def announce(self, indices: Tensor) -> None:
        """Begin to fetch the images of `indices` [k], which `take` will be asked for next."""
        if self._thread is not None:
            rows = indices.cpu()
            self._coming = rows, self._thread.submit(self._fetch, rows)

    def take(self, indices: Tensor) -> Tensor:
        """Return the images of `indices`, bytes [k, c, h, w] on the device."""
        if not self.ahead:
            return self.images[indices]
        coming, self._coming = self._coming, None
        rows = indices.cpu()
        if coming is not None and torch.equal(coming[0], rows):
            images = coming[1].result()
        else:
            images = self._fetch(rows)
        if self._stream is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_stream(self._stream)
            images.record_stream(now)  # or its memory might be given away before it is used
        return images

    def _fetch(self, rows: Tensor) -> Tensor:
        if self._stream is None:
            return self.images.index_select(0, rows).to(self.device)
        pinned = torch.empty(
            (len(rows), *self.images.shape[1:]), dtype=self.images.dtype, pin_memory=True
        )
        torch.index_select(self.images, 0, rows, out=pinned)
        with torch.cuda.stream(self._stream):
            return pinned.to(self.device, non_blocking=True)
