"""The headers in a ledger: all that decides a search, its sessions and its finals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from adv.data.names import kind_of
from adv.shape import DEFAULT_SHAPE, MAX_SIDE, Shape
from search.record import json_records
from search.record.limits import Clock, Count, Range, Seconds, Seed, Share, TrialNumber
from spaces import (
    FIRST_SCORE,
    OBJECTIVES,
    REPORT,
    Params,
    check_objectives,
    is_file,
    parse_threat_model,
    score_label,
)

Plain = Mapping[str, Any]


@dataclass(frozen=True)
class WarmStart:
    """Configurations and results that a search takes over from earlier ones.

    Args:
      runs: folders of the earlier searches.
      points: configurations on their fronts, which are tried first.
      told: their finished trials that are comparable with this search: `params`, `objectives` and
        `details` of each.
      extra: keys that this version does not know.

    Raises:
      FieldError: a value is not of its field's type.
    """

    runs: Sequence[str] = ()
    points: Sequence[Params] = ()
    told: Sequence[Plain] = ()
    extra: Plain = field(default_factory=dict)

    def __post_init__(self) -> None:
        json_records.check(self)
        for trial in self.told:
            json_records.read_key(trial, "params", Params)
            for key in ("objectives", "details"):
                json_records.read_key(trial, key, Plain)


@dataclass(frozen=True)
class StudyHeader:
    """The `study` event of a ledger; the default of a field means that it was not recorded.

    Args:
      format: of the ledger; 0: there is no `study` event yet.
      time: of the event, in seconds since 1970.
      id: 8 hex digits, drawn once.
      name: of the run folder.
      space: name of the search space.
      question: that the space asks.
      knobs: the hyperparameters, as `Space.describe` gives them.
      fingerprint: of the hyperparameters.
      scale: the fields of `spaces.Scale`.
      scale_reason: why this scale was taken.
      data: name of the data set, or the path of an image folder.
      data_fingerprint: of the images and labels.
      classes: how many the data has.
      shape: channels, height and width of an image; empty for a search from before there were
        others than 3x32x32.
      shortfalls: which splits hold fewer images than were planned, in words.
      battery: the attacks that score a trial, one object each: `name`, `eps` and its settings, or
        for a cascade its `runs`, each as text.
      trials: how many were planned.
      seed: of the search; None: not recorded.
      start: how many trials come before the sampler learns from results.
      sampler: name of the sampler.
      stopper: name of the early-stopping rule.
      audit: fraction of would-be-stopped trials run to completion as a check, in [0, 1].
      constraints: upper bounds by name; None for a search from before there were any.
      versions: of Python and of the packages that decide a result.
      commit: of this program; "" outside a git checkout, None: not recorded.
      hardware: of the machine that started the search.
      warm: what was taken over from earlier searches.
      objectives: two names of `spaces.FIGURES` that the search trades; None: the usual ones.
      settings: that fix or narrow hyperparameters, as `--set` takes them.
      first: a configuration that is tried before the known ones.
      sources: 12 hex digits of the SHA-256 of each file of the user's that was run, by its path.
      baseline: the configuration with which the verdict compares; empty for none.
      baseline_name: what it is, in a few words.
      net: the net of another project that stands in each recipe, an `External` as an expression.
      init: the weights that each training starts from, `Weights` as an expression.
      source_sha256: of the source of that net, or of one that the space names.
      init_sha256: of the file of the weights.
      extra: keys that this version does not know.

    Raises:
      FieldError: a value is not of its field's type.
    """

    format: int = 0
    time: Clock | None = None
    id: str = ""
    name: str = ""
    space: str = ""
    question: str = ""
    knobs: Mapping[str, Plain] = field(default_factory=dict)
    fingerprint: str = ""
    scale: Plain = field(default_factory=dict)
    scale_reason: str = ""
    data: str = ""
    data_fingerprint: str = ""
    classes: Annotated[int, Range(0, 10**6)] = 0
    shape: Sequence[Annotated[int, Range(1, MAX_SIDE)]] = ()
    shortfalls: Sequence[str] = ()
    battery: Sequence[Plain] = ()
    trials: TrialNumber = 0
    seed: Seed | None = None
    start: TrialNumber | None = None
    sampler: str = ""
    stopper: str = ""
    audit: Share | None = None
    constraints: Mapping[str, float] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    hardware: Any = None
    warm: WarmStart | None = None
    objectives: Sequence[str] | None = None
    settings: Sequence[str] | None = None
    first: Params | None = None
    sources: Mapping[str, str] | None = None
    baseline: Params = field(default_factory=dict)
    baseline_name: str = ""
    net: str = ""
    init: str = ""
    source_sha256: str = ""
    init_sha256: str = ""
    extra: Plain = field(default_factory=dict)

    def __post_init__(self) -> None:
        json_records.check(self)
        if len(self.shape) not in (0, 3):
            raise json_records.FieldError("key 'shape' holds no channels, height and width")
        for attack in self.battery:
            _check_attack(attack)
        try:
            check_objectives(self.objectives or OBJECTIVES)
        except ValueError as error:
            raise json_records.FieldError(f"key 'objectives': {error}") from None

    @property
    def image_shape(self) -> Shape:
        """Channels, height and width of an image."""
        if not self.shape:
            return DEFAULT_SHAPE
        channels, height, width = self.shape
        return channels, height, width

    @property
    def score(self) -> str:
        """The name of the score that ranks the trials: "margin", or "margin, l2-0.5"."""
        try:
            return score_label(self.attacks, self.threat_model)
        except ValueError:  # of a newer program
            return self.attacks

    @property
    def code_flags(self) -> list[str]:
        """The flags that name the files of code which a command on this run executes."""
        flags = ["--space-file", self.space] if is_file(self.space) else []
        try:
            own = parse_threat_model(self.threat_model).is_code
        except ValueError:  # of a newer program
            own = False
        flags += ["--battery", self.threat_model] if own else []
        flags += ["--data", self.data] if kind_of(self.data) == "function" else []
        return [*flags, *(["--trust-code"] if self.net else [])]

    @property
    def aims(self) -> tuple[str, str]:
        """The two objectives that the search trades against each other."""
        return check_objectives(self.objectives or OBJECTIVES)

    @property
    def attacks(self) -> str:
        """The attacks at the radii of the threat model, one of `spaces.SCORES` unless unknown."""
        return str(self.scale.get("score", FIRST_SCORE))

    @property
    def final_trainings(self) -> int | None:
        """The least number of final trainings that the scale asks for; None: the usual one."""
        planned = self.scale.get("final_trainings")
        return planned if isinstance(planned, int) else None

    @property
    def threat_model(self) -> str:
        """The threat model of the search, as `--battery` takes it."""
        return str(self.scale.get("threat_model", REPORT))

    @property
    def names_code(self) -> bool:
        """True if the checkpoints of the run name code of another project, which makes the net."""
        return bool(self.net or self.source_sha256)

    @classmethod
    def from_json(cls, plain: Plain) -> StudyHeader:
        """Return the header of a `study` event.

        Raises:
          FieldError: a value is not of its field's type.
        """
        return json_records.from_json(cls, {k: v for k, v in plain.items() if k != "event"})

    def to_json(self) -> dict[str, Any]:
        """Return the fields that were recorded, under the ledger's keys."""
        return json_records.to_json(self)

    def merge(self, changes: Plain) -> StudyHeader:
        """Return a header with other values under some of the ledger's keys."""
        return StudyHeader.from_json({**self.to_json(), **changes})


@dataclass
class Session:
    """A `session` event of a ledger: one start of the driver.

    Args:
      time: of the event, in seconds since 1970.
      trials: planned in all; 0: not recorded.
      budget: seconds that the search may take, over all sessions; None: no limit.
      until_gain: the expected gain in hypervolume below which the search ends; None: no limit.
      finalists: "off" if no finals were wanted.
      trial_timeout: seconds for which a trial might be silent; 0: any time, None: by the rule of
        `search.backends.trial_timeout`.
      ranks: processes that train a trial together; None: not asked for, one for each of its GPUs.
      changed: what differs from what the run began with and may change values (versions, commit,
        hardware), as it is in this session.
      last: time of the latest event in this session; None: there is none yet.
      storage: where the run is copied to; "" for nowhere.
      end: why it ended, "done" if nothing was left to do; "" if it has not, or was killed.
      extra: keys that this version does not know.
    """

    time: Clock
    trials: TrialNumber = 0
    budget: Seconds | None = None
    until_gain: float | None = None
    finalists: str = ""
    trial_timeout: float | None = None
    ranks: Count | None = None
    changed: Mapping[str, str] = field(default_factory=dict)
    last: Clock | None = None
    storage: str = ""
    end: str = ""
    extra: Plain = field(default_factory=dict)


@dataclass(frozen=True)
class FinalsHeader:
    """The `finals` event of a ledger: which trials are trained again, and how they are attacked.

    Args:
      time: of the event, in seconds since 1970.
      trials: numbers of the finalists, the likeliest members of the front first.
      trainings: how many there are at most.
      battery: id of the battery that scores them.
      images: test images that score a training.
      steps: of each attack of that battery.
      attacks: that battery in words.
      of: finished trials of the search when the finals began; None: not recorded.
      extra: keys that this version does not know.

    Raises:
      FieldError: a value is not of its field's type.
    """

    time: Clock | None = None
    trials: Sequence[TrialNumber] = ()
    trainings: TrialNumber = 0
    battery: str = ""
    images: Count = 0
    steps: Count = 0
    attacks: str = ""
    of: TrialNumber | None = None
    extra: Plain = field(default_factory=dict)

    def __post_init__(self) -> None:
        json_records.check(self)

    @classmethod
    def from_json(cls, plain: Plain) -> FinalsHeader:
        """Return the header of a `finals` event.

        Raises:
          FieldError: a value is not of its field's type.
        """
        return json_records.from_json(cls, {k: v for k, v in plain.items() if k != "event"})

    def to_json(self) -> dict[str, Any]:
        """Return the fields that were recorded, under the ledger's keys."""
        return json_records.to_json(self)

    def merge(self, changes: Plain) -> FinalsHeader:
        """Return a header with other values under some of the ledger's keys."""
        return FinalsHeader.from_json({**self.to_json(), **changes})


def _check_attack(attack: Plain) -> None:
    """Raise FieldError if a known setting of an attack, such as its radius, is of another type."""
    kinds = {
        "name": str,
        "eps": Annotated[float, Range(0, 1e6)],
        "steps": Count,
        "restarts": Count,
        "runs": Sequence[str],
        "second": Sequence[str],
    }
    for key, kind in kinds.items():
        if attack.get(key) is not None:
            json_records.read_key(attack, key, kind)
