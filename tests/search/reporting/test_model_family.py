"""The family of a net is told from its hyperparameters, its source, or its space."""

import pytest

from adv import External
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.reporting.model_family import find_model_family

TIMM = repr(External("timm:create_model", {"model_name": "resnet18.a1_in1k"}))
FAMILIES = [
    ({"net": "wrn-16-10-rse"}, StudyHeader(space="report_wrn_rse"), "wrn"),
    ({"model": "vit", "width": 3}, StudyHeader(space="architecture"), "vit"),
    ({"lr": 0.1}, StudyHeader(space="finetune", net=TIMM), "resnet"),
    ({"lr": 0.1}, StudyHeader(net=repr(External("torchvision.models:alexnet"))), "alexnet"),
    ({"lr": 0.1}, StudyHeader(net=repr(External("my_net.py:TinyNet", {"width": 2}))), "tinynet"),
    ({"sigma_init": 0.1}, StudyHeader(space="rse_sigmas"), "bignet"),
    ({"net": 3}, StudyHeader(space="no_such_space"), ""),
    ({}, StudyHeader(space="somewhere/mine.py"), ""),
    ({}, StudyHeader(), ""),
]


@pytest.mark.parametrize(("params", "header", "family"), FAMILIES)
def test_the_family_of_a_net(params, header, family):
    assert find_model_family(Trial(0, params, 0, "known"), header) == family
