"""Augmentation of training images: a draw for each image, a whole batch at once, on any device."""

from adv.augment.augment import IDBH as IDBH
from adv.augment.augment import Augment as Augment
from adv.augment.augment import augment_images as augment_images
from adv.augment.augment import mix_images as mix_images
