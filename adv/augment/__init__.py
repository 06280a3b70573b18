"""Training images varied, each by its own draw, all at once on the device they lie on."""

from adv.augment.augment import IDBH as IDBH
from adv.augment.augment import Augment as Augment
from adv.augment.augment import augmented as augmented
from adv.augment.augment import mixed as mixed
