"""The policy of the checks: what is noticed, how it is repaired, and which findings leave a sample out."""

from pydantic import Field, field_validator

from karat.material.data.looking import MAX_PIXELS
from karat.material.data.texts.languages import Language
from karat.words.specs import Spec

REPAIRS = {
    "empty": "Copy the file again, or delete it.",
    "unreadable": "Delete the file, or replace it by a picture or a text.",
    "truncated": "Copy the file again from where it came.",
    "bomb": "Scale the picture down, or delete it.",
    "too-small": "Replace it by a larger one, or allow smaller ones with min_side.",
    "odd-aspect": "Crop it; it will be squeezed or cut otherwise.",
    "blank": "Delete it if it is not meant to be of one colour.",
    "too-short": "Write more, or allow shorter ones with min_length.",
    "boilerplate": "Delete the line from the texts, or expect it to be learnt by heart.",
    "language": "Delete the text, or name the languages that are meant with languages.",
    "mojibake": "Save the file in UTF-8 from where it came, and import it again.",
    "personal-data": "Take it out: karat data anonymise SOURCE.",
    "blocked-term": "Delete the text, or the words from it.",
    "missing-caption": "Write a caption, or train without captions.",
    "exact-duplicate": "Delete one of them; a snapshot keeps the first.",
    "label-conflict": "Decide on one label; a snapshot keeps the first of the two.",
    "near-duplicate": "Nothing need be done: a snapshot keeps both on one side of the split.",
    "class-imbalance": "Add samples of this class, or expect it to be learnt less well.",
}


class CheckPolicy(Spec):
    """What is noticed, and which findings leave a sample out of a snapshot."""

    min_side: int = Field(default=8, ge=1, description="pixels that the shorter side of a picture has at least")
    max_aspect: float = Field(default=4.0, gt=1, description="how many times longer one side may be than the other")
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, description="pixels that a picture may unfold to")
    max_imbalance: float = Field(default=10.0, gt=1, description="how many times more samples one class may have than another")
    near_distance: float = Field(default=0.07, ge=0, le=1, description="how far near duplicates may differ, 0 for not looking for any")
    min_length: int = Field(default=4, ge=1, description="characters that a text has at least, spaces left out")
    max_repeats: int = Field(default=10, ge=2, description="texts that one line may stand in before it is boilerplate")
    languages: tuple[Language, ...] = Field(
        default=(), description="the languages that texts may be in; none: all, but where nine in ten share one, others are noticed"
    )
    near_overlap: float = Field(
        default=0.4, ge=0, le=1, description="the share of word pairs that makes texts near duplicates, 0 for not looking for any"
    )
    blocked: tuple[str, ...] = Field(default=(), description="terms that no text may hold, in any case")
    drop: tuple[str, ...] = Field(
        default=("blocked-term", "bomb", "empty", "exact-duplicate", "too-short", "too-small", "truncated", "unreadable"),
        description="the checks whose findings leave a sample out",
    )

    @field_validator("drop")
    @classmethod
    def _known(cls, drop: tuple[str, ...]) -> tuple[str, ...]:
        for check in drop:
            if check not in REPAIRS:
                raise ValueError(f"there is no check called {check!r}; known are {', '.join(sorted(REPAIRS))}")
        return tuple(sorted(set(drop)))

    @field_validator("blocked")
    @classmethod
    def _said(cls, blocked: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(str.strip, blocked)):
            raise ValueError("an empty term stands in every text")
        return blocked
