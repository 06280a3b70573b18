"""Nets as values: settings that, called with the number of classes, make the net."""

from adv.models.lenet import BaseNet as BaseNet
from adv.models.lenet import BigNet as BigNet
from adv.models.net import Net as Net
from adv.models.net import Normalize as Normalize
from adv.models.resnet import WRN as WRN
from adv.models.resnet import ResNet18 as ResNet18
from adv.models.vit import ViT as ViT
