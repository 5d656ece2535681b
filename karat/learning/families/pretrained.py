"""A pretrained language model as a family: it goes on from its own weights with Karat's rows of ids.

A model that only writes reads a row from left to right. One with an encoder finds in a row what it is to answer, a 0, the answer, a 0. Rows
come with the end mark as id 0; a table leads to the model's own ids.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from karat.learning.families.choosing import Choice, choose
from karat.learning.families.family import FamilyOptions, Loss, Noise, SamplingOptions, Step, families
from karat.learning.nets.pretrained import Adapter, Lora, Whole, adapted, built, factors, kept_names, merged, round_down, take_up
from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.errors import SpecError


class PretrainedOptions(FamilyOptions):
    """Which model it is, and what of it is trained."""

    kind: Literal["pretrained"] = "pretrained"
    config: dict[str, Any] = Field(description="the base's config.json")
    answers: bool = Field(False, description="the model has an encoder and a decoder")
    start: int = Field(ge=0, description="the model's id that stands before a passage")
    end: int = Field(ge=0, description="the model's id that ends one")
    apart: bool = Field(False, description="for rows of several passages: none sees those before it")
    adapter: Adapter = Lora()

    def finished(self) -> "PretrainedOptions":
        """Give the options of what a run ends as: the same model without anything beside its weights."""
        return self.changed(adapter=Whole())


@families.add("pretrained")
class Pretrained(nn.Module):
    """A language model from transformers."""

    kind: ClassVar[str] = "pretrained"
    Options: ClassVar[type[FamilyOptions]] = PretrainedOptions
    Sampling: ClassVar[type[SamplingOptions]] = Choice
    turns: ClassVar[tuple[str, ...]] = ("next",)
    chosen_by: ClassVar[str | None] = "loss"
    tokens: Tensor

    def __init__(self, space: Space, given: Mapping[str, Space], options: PretrainedOptions) -> None:
        super().__init__()
        if given:
            raise SpecError("A pretrained model is told things in words alone.", repair="Leave out --given, or put it into the prompts.")
        assert space.vocab is not None, "a language model makes ids"
        self.space, self.options = space, options
        self.net = built(options.config, answers=options.answers)
        if isinstance(options.adapter, Lora):
            self.net = adapted(self.net, options.adapter)
        self._trained = (factors(self.net) if isinstance(options.adapter, Lora) else self.net,)  # in a tuple: it is no second child
        tokens = torch.arange(space.vocab)
        tokens[0], tokens[options.end], tokens[-1] = options.end, 0, options.end
        self.register_buffer("tokens", tokens, persistent=False)
        self._kept = {f"net.{name}" for name in kept_names(self.net)}
        self.register_state_dict_post_hook(_only_kept)
        self.register_load_state_dict_post_hook(_none_missing)

    def trained_in(self, turn: str) -> nn.Module:
        return self._trained[0]

    def start_from(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the weights of the base, by the names that its files give them."""
        take_up(self.net, tensors)
        if isinstance(self.options.adapter, Lora):
            round_down(self.net, self.options.adapter)

    def finished(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the weights of what a run ends as, from those that were chosen: all of them, the factors merged in."""
        self.load_state_dict(dict(weights))
        return {f"net.{name}": tensor for name, tensor in merged(self.net).items()}

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss:
        weight_BN = self._weight(x, given)
        learnt_BN = weight_BN > 0
        error = self.errors(x, given)[learnt_BN] if self.options.answers else self._costs(x, learnt_BN)
        loss = (error * weight_BN[learnt_BN]).sum() / weight_BN.sum().clamp(min=1)
        return Loss(loss, {"loss": loss.detach()})

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
        error_BN, weight_BN = self.errors(x, given), self._weight(x, given)
        return {"loss": (error_BN * weight_BN).sum(1) / weight_BN.sum(1).clamp(min=1)}

    def errors(self, x: Tensor, given: Given) -> Tensor:
        """Give the nats (B, N) that each id costs; what an encoder reads costs nothing."""
        if self.options.answers:
            return self._answering(x)
        return self._costs(x, torch.ones_like(x, dtype=torch.bool)).view(x.shape)

    def sample(self, given: Given, options: Choice, noise: Noise) -> Iterator[Step]:
        ids = torch.zeros(noise.count, self.space.positions, dtype=torch.long, device=self.tokens.device)
        first = 1 if self.options.answers else 0  # an encoder gets nothing to read: the row begins with its 0
        token, cache = torch.full((noise.count, 1), self.options.start, device=ids.device), None
        ended = torch.zeros(noise.count, dtype=torch.bool, device=ids.device)
        asked = self.encoded(ids[:, :1], torch.ones_like(ids[:, :1], dtype=torch.bool)) if self.options.answers else {}
        for position in range(first, ids.shape[1]):
            read = {"decoder_input_ids": token} if self.options.answers else {"input_ids": token}
            out = self.net(**asked, **read, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            chosen = choose(self.by_id(out.logits[:, -1].float()), options, noise.uniform(1)[:, 0])
            ids[:, position] = torch.where(ended, 0, chosen)
            ended |= chosen == 0
            token = self.tokens[ids[:, position]][:, None]
            if bool(ended.all()):
                break
            if (position + 1) % max(1, ids.shape[1] // 20) == 0 and position + 1 < ids.shape[1]:
                yield Step(position + 1, ids.shape[1], ids.clone())
        yield Step(ids.shape[1], ids.shape[1], ids)

    def by_id(self, logits_BV: Tensor) -> Tensor:
        """Give the model's logits in the order of Karat's ids; the end mark inside a conversation is never chosen."""
        return F.pad(logits_BV[..., self.tokens[:-1]], (0, 1), value=float("-inf"))

    def _costs(self, x: Tensor, asked_BN: Tensor) -> Tensor:
        """Give the nats of the ids (M,) that are asked for: with large vocabularies, the others' would cost as much as the net."""
        logits_BNV = self.net(**self._reading(x), use_cache=False).logits
        return F.cross_entropy(logits_BNV[asked_BN].float(), self.tokens[x[asked_BN]], reduction="none")

    def _weight(self, x: Tensor, given: Given) -> Tensor:
        """Say how much each id counts: what was given, or else all up to the row's end, of an encoder's row the answer alone."""
        if given.weight is not None:
            return given.weight.flatten(1)
        ends_BN = (x == 0).cumsum(1) - (x == 0).long()
        return (ends_BN == (1 if self.options.answers else 0)).float()

    def _reading(self, x: Tensor) -> dict[str, Tensor]:
        """Give what a writing model reads to predict the ids of rows: each passage behind the start mark, apart where asked."""
        before = F.pad(x[:, :-1], (1, 0))
        read = {"input_ids": torch.where(before == 0, self.options.start, self.tokens[before])}
        if not self.options.apart:
            return read
        place = torch.arange(x.shape[1], device=x.device)
        begun = torch.where(before == 0, place, 0).cummax(1).values
        seen = (begun[:, :, None] == begun[:, None, :]).tril()[:, None]
        return {**read, "attention_mask": seen, "position_ids": place - begun}

    def _answering(self, x: Tensor) -> Tensor:
        place = torch.arange(x.shape[1], device=x.device)
        parted_B1 = (x == 0).long().argmax(1, keepdim=True)
        longest = int(parted_B1.max()) + 1
        shifted = (place + parted_B1 + 1).clamp(max=x.shape[1] - 1)
        answer_BT = self.tokens[x.gather(1, shifted)]
        read = torch.cat([torch.full_like(answer_BT[:, :1], self.options.start), answer_BT[:, :-1]], 1)
        asked = self.encoded(x[:, :longest], (place <= parted_B1)[:, :longest])
        logits_BTV = self.net(**asked, decoder_input_ids=read, use_cache=False).logits
        error_BT = F.cross_entropy(logits_BTV.flatten(0, 1).float(), answer_BT.flatten(), reduction="none").view(answer_BT.shape)
        return error_BT.gather(1, (place - parted_B1 - 1).clamp(min=0)) * (place > parted_B1)

    def encoded(self, x: Tensor, there: Tensor) -> dict[str, Any]:
        """Let the encoder read rows of ids where there are some."""
        read = {"attention_mask": there.long()}
        return {**read, "encoder_outputs": self.net.get_encoder()(input_ids=self.tokens[x], **read)}  # type: ignore[operator]


def _only_kept(family: Pretrained, state: dict[str, Tensor], prefix: str, facts: Any) -> None:
    """Leave what stays as the base has it, and second names of the same weights, out of what is saved and averaged."""
    for name in [name for name in state if name.startswith(prefix) and name.removeprefix(prefix) not in family._kept]:
        del state[name]


def _none_missing(family: Pretrained, found: Any) -> None:
    """Do not miss, when weights are loaded, what is not saved."""
    found.missing_keys[:] = [name for name in found.missing_keys if name[name.find("net.") :] in family._kept]
