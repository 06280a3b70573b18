"""Attacks: settings go to the constructor, the model and the images to the call."""

from adv.attacks.apgd import APGD as APGD
from adv.attacks.attack import Attack as Attack
from adv.attacks.attack import Iterative as Iterative
from adv.attacks.attack import State as State
from adv.attacks.ball import L2 as L2
from adv.attacks.ball import Ball as Ball
from adv.attacks.ball import Linf as Linf
from adv.attacks.batch_mixing import Ladder as Ladder
from adv.attacks.composite import Worst as Worst
from adv.attacks.composite import restarts as restarts
from adv.attacks.ddn import DDN as DDN
from adv.attacks.fmn import FMN as FMN
from adv.attacks.minimum_norm import MinimumNorm as MinimumNorm
from adv.attacks.minimum_norm import Nearest as Nearest
from adv.attacks.minimum_norm import find_nearest as find_nearest
from adv.attacks.nes import NES as NES
from adv.attacks.pgd import FGSM as FGSM
from adv.attacks.pgd import PGD as PGD
from adv.attacks.probability_margin import PMA as PMA
from adv.attacks.probability_margin import ProbabilityMargin as ProbabilityMargin
from adv.attacks.query_budget import Hunt as Hunt
from adv.attacks.query_budget import hunt as hunt
from adv.attacks.single_step import FGSMRS as FGSMRS
from adv.attacks.single_step import NFGSM as NFGSM
from adv.attacks.square import Square as Square
from adv.attacks.transfer import Transfer as Transfer
