"""Generated training images: a conditional GAN, baselines for it, and scores of their images."""

from adv.generative.baselines import Gaussian as Gaussian
from adv.generative.baselines import Mixup as Mixup
from adv.generative.ddls import DDLS as DDLS
from adv.generative.gan import GAN as GAN
from adv.generative.synthetic import FromGAN as FromGAN
from adv.generative.synthetic import Npz as Npz
from adv.generative.synthetic import Synthetic as Synthetic
from adv.generative.training import train_gan as train_gan
