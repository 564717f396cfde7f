"""The sections `tokens`, `pretrain` and `finetune`: how encoders are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from claimscale.config.base import Count, Fraction, Number, Positive, Seeds, Settings, Share


class Tokens(Settings):
    """How events become model inputs."""

    max_length: Annotated[int, Field(ge=8)] = 512
    """Longest input, in tokens; the newest codes are kept."""
    min_patients: Count = 10
    """Fewest training patients with a code that make it a token."""
    rollup: dict[str, Count | Literal["who"]] = {}
    """Per code system, the length to which codes are shortened: characters for ICD10, ICD9CM and YJ (3 or 4:
    class, 7: ingredient), levels 1 to 5 for ATC; `ICD10: who` removes national extensions."""
    deduplicate: Literal["none", "month", "quarter", "year", "history"] = "history"
    """Period within which only the latest occurrence of a code is kept; `none` keeps all."""
    hierarchical_embeddings: bool = False
    """Whether a code's vector is the sum of its own and those of its chapter, category or drug class."""


class Pretrain(Settings):
    """Pretraining: the encoder predicts masked codes, and which codes are incident after a random date."""

    seeds: Seeds = [42, 123, 456]
    """Random seeds; each gives one pretraining per size."""
    epochs: Count = 8
    """Number of passes over the training patients."""
    start: str | None = None
    """Folder of a model package whose encoder every pretraining starts from; null starts from random
    weights."""
    batch_tokens: Annotated[int, Field(ge=64)] = 65536
    """Tokens per training step."""
    mask_probability: Fraction = 0.3
    """Share of the codes that are masked."""
    mask_unit: Literal["token", "code"] = "token"
    """What is masked together: one token, or every occurrence of a code in a sequence."""
    incident_weight: Annotated[Number, Field(ge=0)] = 5.0
    """Weight of the loss of incident codes; 0 trains on masked codes alone."""
    horizon_days: Count = 365
    """Days after a random date within which a code is incident."""
    calendar_date_share: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """Share of the random dates that are any day since the first contact; the others are days on which a
    claim became known."""
    learning_rate: Positive = 4e-3
    """Peak learning rate at the base size; CompleteP scales it to the other sizes."""
    cooldown_fractions: Annotated[list[Share], Field(min_length=1)] = [0.5, 1.0]
    """Shares of the token budget at which a cooldown ends and the weights are saved and scored; 0.5 and 1
    show whether the last doubling of tokens still helped."""
    lr_sweep: list[Positive] = []
    """Learning rates of short runs at every size, which show whether `learning_rate` suits it."""
    lr_sweep_fraction: Fraction = 0.1
    """Share of the token budget of each short run."""
    checkpoint_minutes: Positive = 5.0
    """Minutes between checkpoints."""

    @field_validator("cooldown_fractions")
    @classmethod
    def end_with_the_whole(cls, value: list[float]) -> list[float]:
        if sorted(set(value)) != value or value[-1] != 1:
            raise ValueError("must be ascending and distinct, and end with 1, the whole budget")
        return value

    @field_validator("lr_sweep")
    @classmethod
    def show_an_optimum(cls, value: list[float]) -> list[float]:
        if sorted(set(value)) != value or len(value) in (1, 2):
            raise ValueError("must be ascending and distinct, three or more: an optimum has two sides")
        return value


NON_TRAINING_FIELDS = {"seeds", "start", "checkpoint_minutes", "lr_sweep", "lr_sweep_fraction"}
"""Settings of `Pretrain` that do not change the weights of a pretraining; the content of `start` does."""


class Finetune(Settings):
    """Fine-tuning on labelled patients, with early stopping on the tuning split."""

    labelled_patients: Annotated[list[Count | Literal["all"]], Field(min_length=1)] = ["all"]
    """Numbers of labelled training patients; the subsets are nested."""
    initialization: list[Literal["pretrained", "scratch"]] = ["pretrained", "scratch"]
    """Weights at the start of fine-tuning: pretrained, or from scratch; `[]` trains baselines alone."""
    seeds: Seeds = [42, 123, 456]
    """Random seeds; each starts from the pretraining of the same seed."""
    epochs: Count = 5
    """Most passes over the labelled patients."""
    batch_tokens: Annotated[int, Field(ge=64)] = 8192
    """Tokens per training step."""
    learning_rates: Annotated[list[Positive], Field(min_length=1)] = [5e-4, 2e-3]
    """Learning rates that are tried; the loss on the tuning split decides."""
    layerwise_lr_decay: Share = 1.0
    """Factor of the learning rate per layer, from the classifier down."""
    method: Literal["full", "lora", "linear_probe"] = "full"
    """What is trained: all weights, low-rank adapters (LoRA), or the classifier alone."""
    zero_shot_init: bool = True
    """Whether the initial logit is the pretrained model's zero-shot prediction for the outcome codes."""
    weight_averaging: bool = True
    """Whether the mean of the weights over about an epoch is scored and kept."""
    token_dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Share of the codes that are hidden at random in each training step."""
    checkpoint_minutes: Positive = 5.0
    """Minutes between checkpoints."""

    @field_validator("learning_rates")
    @classmethod
    def rates_differ(cls, value: list[float]) -> list[float]:
        if len(set(value)) != len(value):
            raise ValueError("a rate is listed twice")
        return value

    @model_validator(mode="after")
    def method_suits_the_initialization(self) -> Finetune:
        if self.method != "full" and "scratch" in self.initialization:
            raise ValueError(
                f"method: {self.method} keeps pretrained weights fixed, which scratch lacks; "
                "set initialization: [pretrained]"
            )
        return self
