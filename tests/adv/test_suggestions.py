"""What a message says after a name that is unknown."""

import click
import pytest

from adv.suggestions import describe_mistake, suggest_or_list


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("smok", "no space 'smok': did you mean 'smoke'? There are: smoke, pni"),
        ("xyz", "no space 'xyz'; there are: smoke, pni"),
    ],
)
def test_the_nearest_name_and_all_names_follow_an_unknown_one(word, said):
    assert f"no space {word!r}{suggest_or_list(word, iter(('smoke', 'pni')))}" == said


def test_of_several_options_like_an_unknown_one_the_nearest_is_named():
    @click.command()
    @click.option("--constrain")
    @click.option("--repair")
    @click.option("--trials")
    def command(**_):
        raise AssertionError

    with pytest.raises(click.NoSuchOption) as caught:
        command.main(["--trails", "5"], standalone_mode=False)
    assert set(caught.value.possibilities or ()) == {"--constrain", "--repair", "--trials"}
    said = describe_mistake(caught.value)
    assert "'--trials'" in said and "--constrain" not in said and "--repair" not in said
    assert describe_mistake(click.UsageError("no space 'x'")) == "no space 'x'"
