"""What a message says after a name that is unknown."""

import pytest

from adv.suggestions import suggest_or_list


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("smok", "no space 'smok': did you mean 'smoke'? There are: smoke, pni"),
        ("xyz", "no space 'xyz'; there are: smoke, pni"),
    ],
)
def test_the_nearest_name_and_all_names_follow_an_unknown_one(word, said):
    assert f"no space {word!r}{suggest_or_list(word, iter(('smoke', 'pni')))}" == said
