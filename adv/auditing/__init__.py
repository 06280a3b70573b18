"""Checks of an evaluation: can its score be trusted?"""

from adv.auditing.auditor import audit as audit
from adv.auditing.finding import Finding as Finding
from adv.auditing.finding import verdict as verdict
from adv.auditing.gradient_masking import Gap as Gap
from adv.auditing.gradient_masking import masking_gap as masking_gap
