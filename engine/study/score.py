"""What the answers to a study say: majority votes, intervals, agreement."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .records import Answers, Key, read_all_answers, read_key

Z_95 = 1.959963984540054  # of the normal distribution, two-sided


@dataclass(frozen=True, kw_only=True)
class Votes:
    """The votes on one clip."""

    clip: str
    source: str
    real: bool
    """Whether it is."""
    votes: int
    votes_real: int

    @property
    def judged_real(self) -> bool:
        """By more than half of the votes: a tie counts as fake."""
        return 2 * self.votes_real > self.votes

    @property
    def tied(self) -> bool:
        return self.votes > 0 and 2 * self.votes_real == self.votes


@dataclass(frozen=True, kw_only=True)
class Group:
    """The real clips of a study, or the generated ones."""

    clips: int
    """Those with at least one vote."""
    unseen: int
    """Those without."""
    judged_real: int
    """By majority; the paper's figure is that of the generated clips, 44 of 90."""
    ties: int
    interval: tuple[float, float] | None
    """95 % interval of judged_real / clips, after Wilson; None without clips."""


@dataclass(frozen=True, kw_only=True)
class Participant:
    """One visitor: of how many clips seen, how many were told for what they are."""

    participant: str
    finished: bool
    real_seen: int
    real_right: int
    generated_seen: int
    generated_right: int

    @property
    def accuracy(self) -> float:
        return (self.real_right + self.generated_right) / (self.real_seen + self.generated_seen)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Everything that is known of a study."""

    study: str
    title: str
    generated: Group
    real: Group
    participants: list[Participant]
    kappa: float | None
    """Fleiss' kappa over the clips with two votes or more; None where it is not defined."""
    answers: int
    answers_per_clip: tuple[int, float, int]
    """Fewest, mean, most, over all clips."""
    clips: list[Votes]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        participants = [{**asdict(one), "accuracy": one.accuracy} for one in self.participants]
        clips = [{**asdict(one), "judged_real": one.judged_real, "tied": one.tied} for one in self.clips]
        return {**asdict(self), "participants": participants, "clips": clips}


def score_study(key: str | os.PathLike[str], answers: Sequence[str | os.PathLike[str]]) -> Score:
    """Score the answer files, or folders of them, by the key that `make_study` wrote.

    Raises:
        ValueError: a file is not what it should be; the sentence says which and what to do.
    """
    truth = read_key(Path(key))
    return score(truth, read_all_answers([Path(path) for path in answers], truth))


def score(key: Key, answers: Sequence[Answers]) -> Score:
    """The figures of the answers of at least one visitor."""
    clips = [Votes(clip=clip, source=key.sources[clip], real=real, votes=len(votes), votes_real=sum(votes))
             for clip, real in key.real.items()
             for votes in [[one.judged_real[clip] for one in answers if clip in one.judged_real]]]
    counts = [clip.votes for clip in clips]
    return Score(study=key.study, title=key.title,
                 generated=_group([clip for clip in clips if not clip.real]),
                 real=_group([clip for clip in clips if clip.real]),
                 participants=[_participant(one, key) for one in answers],
                 kappa=fleiss_kappa([(clip.votes_real, clip.votes - clip.votes_real) for clip in clips]),
                 answers=sum(counts), answers_per_clip=(min(counts), sum(counts) / len(counts), max(counts)),
                 clips=clips)


def _group(clips: Sequence[Votes]) -> Group:
    seen = [clip for clip in clips if clip.votes]
    judged_real = sum(clip.judged_real for clip in seen)
    return Group(clips=len(seen), unseen=len(clips) - len(seen), judged_real=judged_real,
                 ties=sum(clip.tied for clip in seen),
                 interval=wilson_interval(judged_real, len(seen)) if seen else None)


def _participant(answers: Answers, key: Key) -> Participant:
    right = {of: [judged == of for clip, judged in answers.judged_real.items() if key.real[clip] == of]
             for of in (True, False)}
    return Participant(participant=answers.participant, finished=answers.finished,
                       real_seen=len(right[True]), real_right=sum(right[True]),
                       generated_seen=len(right[False]), generated_right=sum(right[False]))


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a share (Wilson, JASA 1927): unlike the share +- z standard errors, it stays in [0, 1] and
    has a width at 0 and 1 too."""
    share, z2 = successes / trials, z * z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Agreement beyond chance (Fleiss, Psychological Bulletin 1971): 1 all agree, 0 as by chance.

    Args:
        counts: for every clip, how many chose each category. Clips with fewer than two votes are left out; the others
            may have different numbers: agreement is averaged over clips, the categories' shares are those of all votes.

    Returns:
        None where nothing was judged twice, or all votes are for one category.
    """
    rated = [row for row in counts if sum(row) > 1]
    total = sum(map(sum, rated))
    if not rated:
        return None
    agreement = sum(sum(n * (n - 1) for n in row) / (sum(row) * (sum(row) - 1)) for row in rated) / len(rated)
    by_chance = sum((sum(column) / total) ** 2 for column in zip(*rated, strict=True))
    return None if by_chance == 1 else (agreement - by_chance) / (1 - by_chance)
