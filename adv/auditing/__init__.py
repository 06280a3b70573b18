"""Doubts about an evaluation, and what they found."""

from adv.auditing.checks import audit as audit
from adv.auditing.finding import Finding as Finding
from adv.auditing.finding import verdict as verdict
from adv.auditing.gap import Gap as Gap
from adv.auditing.gap import masking_gap as masking_gap
