"""Agreement of the published recipes with their authors' public code, on 100 random patients.

For each recipe whose code can be imported, both models have the same dimensions and our weights; compared are
the inputs, where the public code makes them from codes, the embedded inputs and the loss of the same masked
codes, without dropout. `*_inputs_equal` are shares of patients, `*_embedded_error` the largest absolute
difference, `*_loss_error` the relative difference.

`--code FOLDER` has one checkout per recipe: deepmedicine/BEHRT, gerstung-lab/Delphi, cumc-dbmi/cehrbert,
yikuanli/HiBEHRT-BYOL, whaleloops/TransformEHR, som-shahlab/femr and ZhiGroup/Med-BERT, each in a folder of
the repository's name. In an environment of its own they need pytorch_pretrained_bert, transformers (4.45)
and, for Med-BERT, tensorflow and tf_keras. What lacks is named in one line, and its recipe left out.

Where the code differs from ours on purpose, the public code is changed for the comparison:

- Logits of tokens that a recipe does not predict get a bias of -10,000.
- BEHRT: [CLS] has the age on the index date; its sines are put back, which its start overwrites.
- Delphi: codes of the same day keep their order.
- CEHR-BERT: the embeddings are transformed by tanh; its positions have weights of zero.
- Med-BERT: the order channel is the position in the sequence; `med_bert_exact_gelu_loss_error` is the error
  of our exact GELU, `med_bert_loss_error` of its approximation.
- Hi-BEHRT: both networks have the same weights; hidden windows are zeros; the loss is that of predicting
  hidden windows from seen ones, per window.
- TransformEHR: embeddings of positions and visits are replaced by ours of times.
- MOTOR: the loss of its head alone, without the norm before it; times are not rounded to 16 bits.

`behrt_positions_overwritten` is how far the positions of BEHRT's code are from its sines after its start.
Prints a table and, if nothing lacks, writes `benchmarks/results/recipe_agreement.json`.
Run `recipe_agreement.py --code FOLDER`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import importlib
import io
import math
import os
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.constants import DAYS_PER_YEAR
from claimscale.model.recipes import RECIPES, cehr_bert, hi_behrt, motor, transformehr
from claimscale.model.recipes.behrt import OLDEST, POSITIONS, SEGMENTS
from claimscale.model.recipes.causal import SHORTEST_DAYS, age_features
from claimscale.model.recipes.history import (
    CodeTypes,
    Histories,
    PaddedBatch,
    RecipeSequences,
    is_code,
    padded,
)
from claimscale.model.recipes.med_bert import ORDERS, VISITS, few_of_each
from claimscale.model.recipes.recipe import Dimensions, corrupt, mask_codes, mean_state
from claimscale.tokens.special_tokens import CLS, FIRST_CODE, FIRST_SEX, MASK, PAD
from public_code import Seen, Weights, bert_layers, checkout, copy_weights, named
from record import write_record

PATIENTS, CODES, MAX_LENGTH, SEED = 100, 300, 128, 7
DIMENSIONS = Dimensions(width=48, layers=2, heads=4, feed_forward=192)
NEVER = -1e4
CPU = torch.device("cpu")
HI_BEHRT_LENGTH = 200
WHOLE_WINDOWS = hi_behrt.WINDOW + 6 * hi_behrt.STRIDE
"""Length of the padded sequences of Hi-BEHRT's code, which has no other lengths."""
DAYS_PER_WEEK = 7
Figures = dict[str, float]
Rows = list[tuple[np.ndarray, ...]]
TYPES = CodeTypes(np.zeros(CODES, np.int8), FIRST_CODE, FIRST_CODE + 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--code", type=Path)
    folder: Path | None = parser.parse_args().code
    if folder is None:
        print("--code is not given: no public code to compare with")
        return
    warnings.simplefilter("ignore")
    figures: Figures = {}
    complete = True
    for name, compare in COMPARISONS.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = compare(folder.resolve(), random_patients(np.random.default_rng(SEED)))
        except ImportError as error:
            print(f"{name}: not compared: {error}")
            complete = False
            continue
        for key, value in found.items():
            print(f"{name:<14}{key:<28}{value:>12.6g}")
            figures[f"{name}_{key}"] = value
    if complete:
        write_record("recipe_agreement", figures)


def random_patients(rng: np.random.Generator) -> Histories:
    """Patients with 1 to 60 days of contact, and 1 to 4 codes on each; some have more than MAX_LENGTH."""
    rows: list[tuple[int, int, int, int, int]] = []
    index_age = np.zeros(PATIENTS, np.int64)
    for patient in range(PATIENTS):
        age = int(rng.integers(20 * 365, 80 * 365))
        for visit in range(int(rng.integers(1, 61))):
            codes = rng.permutation(np.arange(FIRST_CODE, CODES))[: rng.integers(1, 5)]
            rows += [(patient, int(code), age, visit, order) for order, code in enumerate(codes)]
            age += int(rng.geometric(1 / 40))
        index_age[patient] = age
    columns = np.array(rows, np.int64).T
    return Histories(*columns, index_age=index_age, sex=rng.integers(FIRST_SEX, FIRST_CODE, PATIENTS))


class Ours:
    """A recipe's model with large random weights, and the batch of all patients."""

    def __init__(self, name: str, histories: Histories, length: int = MAX_LENGTH) -> None:
        recipe = RECIPES[name]
        torch.manual_seed(SEED)
        self.found: RecipeSequences = recipe.read(histories, TYPES, length)
        self.batch: PaddedBatch = padded(self.found, np.arange(PATIENTS), CPU)
        self.model: Any = recipe.build(DIMENSIONS, TYPES).eval()
        for weight_name, weight in self.model.named_parameters():
            is_gain = weight.dim() == 1 and weight_name.endswith("weight")
            nn.init.normal_(weight, 1.0 if is_gain else 0.0, 0.2)

    def rows(self, *channels: str) -> Rows:
        """Each patient's channels, without padding."""
        bounds = self.found.offsets[1:-1]
        return list(zip(*(np.split(self.found.channels[name], bounds) for name in channels), strict=True))


def result(
    ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], present: Tensor | None = None
) -> Figures:
    """Errors of embedded inputs, at the positions that are present, and of losses."""
    error = (ours[0] - theirs[0]).abs()
    embedded = error.max() if present is None else error[present].max()
    return {
        "embedded_error": float(embedded),
        "loss": float(ours[1]),
        "loss_error": relative(ours[1], theirs[1]),
    }


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs() / theirs.abs())


def share_equal(ours: Rows, theirs: Rows) -> float:
    """The share of patients all of whose channels are equal."""
    pairs = zip(ours, theirs, strict=True)
    return float(np.mean([all(map(np.array_equal, mine, other)) for mine, other in pairs]))


def with_separators(histories: Histories) -> list[tuple[np.ndarray, np.ndarray]]:
    """Codes and ages in years of each patient; after each day stands a separator, the token CODES."""
    found = []
    for patient in range(PATIENTS):
        mine = histories.patient == patient
        codes, ages = histories.token[mine], (histories.age_days[mine] / DAYS_PER_YEAR).astype(int)
        ends = np.flatnonzero(np.diff(histories.visit[mine], append=-1)) + 1
        found.append((np.insert(codes, ends, CODES), np.insert(ages, ends, ages[ends - 1])))
    return found


def masked_code_head(model: Any, prefix: str, unpredicted: int) -> Weights:
    """The head's weights under BERT's names; logits of the last, unpredicted tokens are never large."""
    bias = F.pad(model.head.bias.detach(), (0, unpredicted), value=NEVER)
    return {
        **named(model.head.transform, f"{prefix}.transform.dense"),
        **named(model.head.norm, f"{prefix}.transform.LayerNorm"),
        f"{prefix}.decoder.weight": model.token.weight.detach(),
        f"{prefix}.bias": bias,
    }


def behrt(folder: Path, histories: Histories) -> Figures:
    ours = Ours("behrt", histories)
    model, batch = ours.model, ours.batch
    with checkout(folder / "BEHRT") as load:
        code, loader, bert = (load(x) for x in ("model.MLM", "dataLoader.MLM", "pytorch_pretrained_bert"))
        names = {str(token): token for token in range(FIRST_CODE, CODES)}
        names |= {"PAD": PAD, "CLS": CLS, "MASK": MASK, "UNK": MASK, "SEP": CODES}
        years = {"PAD": 0, "UNK": 0} | {str(age): age for age in range(OLDEST + 1)}
        rows = with_separators(histories)
        frame = {
            "code": [np.array(["SEP" if x == CODES else str(x) for x in codes]) for codes, _ in rows],
            "age": [ages.astype(str) for _, ages in rows],
        }
        data = loader.MLMLoader(frame, names, years, MAX_LENGTH)
        with patch("random.random", return_value=1.0):  # masks nothing
            items = [data[patient] for patient in range(PATIENTS)]
        config = bert.BertConfig(
            CODES + 1,
            DIMENSIONS.width,
            DIMENSIONS.layers,
            DIMENSIONS.heads,
            DIMENSIONS.feed_forward,
            max_position_embeddings=POSITIONS,
        )
        config.seg_vocab_size, config.age_vocab_size = SEGMENTS, OLDEST + 1
        theirs = code.BertForMaskedLM(config).eval()
    weights = {
        **bert_layers(model.layers, "bert.encoder.layer"),
        **named(model.token, "bert.embeddings.word_embeddings"),
        **named(model.segment, "bert.embeddings.segment_embeddings"),
        **named(model.age, "bert.embeddings.age_embeddings"),
        **named(model.norm, "bert.embeddings.LayerNorm"),
        **named(model.pooler, "bert.pooler.dense"),
        **masked_code_head(model, "cls.predictions", 1),
    }
    copy_weights(theirs, weights, apart=("bert.embeddings.posi_embeddings",))
    place = theirs.bert.embeddings
    overwritten = place.posi_embeddings.weight.detach().clone()
    place.posi_embeddings.weight.copy_(place._init_posi_embedding(POSITIONS, DIMENSIONS.width))

    theirs_rows = [tuple(x[item[4] == 1].numpy() for x in item[:4]) for item in items]
    equal = share_equal(
        [(age[1:], *others) for age, *others in ours.rows("age", "token", "position", "segment")],
        [(age[1:], *others) for age, *others in theirs_rows],
    )
    torch.manual_seed(SEED)
    masked = mask_codes(batch.token, TYPES)
    at_ours, at_theirs = Seen(model.layers), Seen(theirs.bert.encoder)
    torch.manual_seed(SEED)
    loss = model.pretraining_loss(batch)
    channels = [batch.channels[name] for name in ("age", "segment", "position")]
    inputs = (*channels, batch.present.long())
    theirs_loss = theirs(masked.token, *inputs, torch.where(masked.is_masked, batch.token, -1))[0]
    found = result((at_ours.value, loss), (at_theirs.value, theirs_loss), batch.present)
    pooled = theirs.bert(batch.token, *inputs)[1]
    return {
        "inputs_equal": equal,
        **found,
        "readout_error": float((model.readout(batch) - pooled).abs().max()),
        "positions_overwritten": float((overwritten - model.position).abs().max()),
    }


def delphi(folder: Path, histories: Histories) -> Figures:
    ours = Ours("causal", histories)
    model, batch = ours.model, ours.batch
    model.log_start = 0.0  # where rates start is ours
    with checkout(folder / "Delphi") as load:
        code, utils = load("model"), load("utils")
    config = code.DelphiConfig(
        block_size=MAX_LENGTH,
        vocab_size=CODES + 1,
        n_layer=DIMENSIONS.layers,
        n_head=DIMENSIONS.heads,
        n_embd=DIMENSIONS.width,
        bias=False,
        t_min=SHORTEST_DAYS,
        mask_ties=True,
    )
    theirs = code.Delphi(config).eval()
    weights = {
        **named(model.token, "lm_head"),
        **named(model.token, "transformer.wte"),
        **named(model.age, "transformer.wae.linear"),
        **named(model.layers.norm, "transformer.ln_f"),
    }
    for number, layer in enumerate(model.layers.layers):
        prefix = f"transformer.h.{number}"
        weights[f"{prefix}.attn.c_attn.weight"] = layer.self_attn.in_proj_weight.detach()
        weights |= named(layer.self_attn.out_proj, f"{prefix}.attn.c_proj")
        weights |= named(layer.norm1, f"{prefix}.ln_1") | named(layer.norm2, f"{prefix}.ln_2")
        weights |= named(layer.linear1, f"{prefix}.mlp.c_fc") | named(layer.linear2, f"{prefix}.mlp.c_proj")
    copy_weights(
        theirs,
        weights,
        apart=(
            "transformer.wae.div_term",
            *(f"transformer.h.{n}.attn.bias" for n in range(DIMENSIONS.layers)),
        ),
    )

    # Their tokens are one lower in the data, and padded on the left in a batch.
    patient = np.repeat(np.arange(PATIENTS), ours.found.lengths)
    data = np.stack([patient, ours.found.channels["age"], ours.found.channels["token"] - 1], 1)
    sort = torch.argsort  # codes of equal ages keep their order
    with patch.object(torch, "argsort", lambda ages, dim: sort(ages, dim=dim, stable=True)):
        token, age, target, target_age = utils.get_batch(
            range(PATIENTS),
            data,
            utils.get_p2i(data),
            select="right",
            padding="none",
            block_size=MAX_LENGTH - 1,
        )
    whole_token, whole_age = torch.hstack([token, target[:, -1:]]), torch.hstack([age, target_age[:, -1:]])
    theirs_rows = [
        (tokens[tokens > 0].numpy(), ages[tokens > 0].numpy())
        for tokens, ages in zip(whole_token, whole_age, strict=True)
    ]
    at_ours, at_theirs = Seen(model.layers), Seen(theirs.transformer.drop)
    codes, times = model.losses(batch)
    _, losses, _ = theirs(token, age, target, target_age)
    embedded = at_ours.value[batch.present[:, :-1] & batch.present[:, 1:]]
    found = result((embedded, codes), (at_theirs.value[token > 0], losses["loss_ce"]))
    return {
        "inputs_equal": share_equal(ours.rows("token", "age"), theirs_rows),
        **found,
        "time_loss": float(times),
        "time_loss_error": relative(times, losses["loss_dt"]),
    }


def cehr(folder: Path, histories: Histories) -> Figures:
    ours = Ours("cehr_bert", histories)
    model, batch = ours.model, ours.batch
    with checkout(folder / "cehrbert" / "src") as load:
        code = load("cehrbert.models.hf_models.hf_cehrbert")
        configuration = load("cehrbert.models.hf_models.config")
    config = configuration.CehrBertConfig(
        CODES + cehr_bert.OWN_TOKENS,
        cehr_bert.SEGMENTS,
        DIMENSIONS.width,
        cehr_bert.TIME_WIDTH,
        DIMENSIONS.layers,
        DIMENSIONS.heads,
        DIMENSIONS.feed_forward,
        attn_implementation="eager",
    )
    theirs = code.CehrBertForPreTraining(config).eval()
    place = "bert.cehr_bert_embeddings"
    # They divide weeks by 1,000 and years of age by 100 before the sines.
    per_year = {"time": 1000 * DAYS_PER_WEEK / DAYS_PER_YEAR, "age": 100}
    weights = {
        **bert_layers(model.layers, "bert.encoder.layer"),
        **named(model.token, f"{place}.concept_embeddings"),
        **named(model.segment, f"{place}.visit_segment_embeddings"),
        f"{place}.linear_proj.weight": F.pad(model.joined.weight.detach(), (0, cehr_bert.TIME_WIDTH)),
        f"{place}.linear_proj.bias": model.joined.bias.detach(),
        **masked_code_head(model, "cls.predictions", cehr_bert.OWN_TOKENS),
    }
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"]
    for name, scale in per_year.items():
        sines = getattr(model, name)
        weights[f"{place}.{name}_embedding_layer.w"] = scale * sines.frequency.detach()
        weights[f"{place}.{name}_embedding_layer.phi"] = sines.phase.detach()
    unused = ("concept_value_transformation_layer", "positional_embedding_layer")
    copy_weights(theirs, weights, apart=("bert.pooler", *(f"{place}.{name}" for name in unused)))

    torch.manual_seed(SEED)
    masked = mask_codes(batch.token, TYPES)
    at_ours, at_theirs = Seen(model.layers), Seen(theirs.bert.encoder)
    loss = model.head.loss(model.states(batch, masked.token), model.token.weight, masked)
    nothing = torch.zeros(batch.token.shape)

    def theirs_loss() -> Tensor:
        return theirs(
            masked.token,
            batch.present.long(),
            batch.channels["age"] / DAYS_PER_YEAR,
            batch.channels["ago"] / DAYS_PER_WEEK,
            nothing.long(),
            nothing,
            nothing,
            batch.channels["segment"],
            labels=torch.where(masked.is_masked, batch.token, -100),
        ).loss

    with_gelu = relative(loss, theirs_loss())
    with patch.object(code, "gelu_new", torch.tanh):
        with_tanh = theirs_loss()
    found = result((at_ours.value, loss), (at_theirs.value, with_tanh), batch.present)
    return {**found, "gelu_embeddings_loss_error": with_gelu}


def hi(folder: Path, histories: Histories) -> Figures:
    ours = Ours("hi_behrt", histories, HI_BEHRT_LENGTH)
    model, batch = ours.model, ours.batch
    nn.init.zeros_(model.hidden)
    with checkout(
        folder / "HiBEHRT-BYOL",
        bare=("models", "dataloaders"),
        unneeded=("pytorch_lightning", "pl_bolts", "h5py"),
    ) as load:
        code, transform = load("models.mlmbyol"), load("dataloaders.transform")
    width = DIMENSIONS.width
    theirs = code.HiBEHRT(
        {
            "vocab_size": CODES + 1,
            "seg_vocab_size": SEGMENTS,
            "age_vocab_size": OLDEST + 1,
            "max_seq_length": POSITIONS,
            "hidden_size": width,
            "projector_size": width,
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "num_attention_heads": DIMENSIONS.heads,
            "intermediate_size": DIMENSIONS.feed_forward,
            "hidden_act": "gelu",
            "extractor_num_layer": DIMENSIONS.layers,
            "aggregator_num_layer": DIMENSIONS.layers,
        }
    ).eval()
    weights = {
        **bert_layers(model.within, "extractor.encoder.layer"),
        **bert_layers(model.over, "aggregator.encoder.layer"),
        **named(model.pooler, "extractor.pooler.dense"),
        **named(model.token, "embedding.word_embeddings"),
        **named(model.segment, "embedding.segment_embeddings"),
        **named(model.age, "embedding.age_embeddings"),
        **named(model.norm, "embedding.LayerNorm"),
        **named(model.projector, "projector.net"),
        **named(model.predictor, "predictor.net"),
    }
    copy_weights(theirs, weights, apart=("embedding.posi_embeddings",))

    steps = (
        transform.RetriveSeqLengthAndPadding(WHOLE_WINDOWS),
        transform.FormatAttentionMask(WHOLE_WINDOWS),
        transform.FormatHierarchicalStructure(hi_behrt.WINDOW, hi_behrt.STRIDE, WHOLE_WINDOWS),
        transform.CalibrateHierarchicalPosition(),
        transform.CalibrateSegmentation(),
    )
    samples: list[dict[str, Any]] = []
    for token, age in ours.rows("token", "age"):
        counted = transform.CreateSegandPosition()({"code": ["SEP" if x == CODES else x for x in token]})
        sample = {**counted, "code": token, "age": age}
        for step in steps:
            sample = step(sample)
        samples.append(sample)
    names = ("code", "age", "seg", "position", "att_mask", "h_att_mask")
    inputs = [torch.from_numpy(np.stack([sample[name] for sample in samples])).long() for name in names]

    torch.manual_seed(SEED)
    at_ours, at_theirs = Seen(model.over), Seen(theirs.aggregator.encoder)
    loss = model.pretraining_loss(batch)
    torch.manual_seed(SEED)
    exists = model.windows(batch)[1]
    several = exists.sum(1, keepdim=True) > 1
    hidden = exists & (torch.rand(exists.shape) < hi_behrt.MASKED_SHARE) & several
    windows = exists.shape[1]
    inputs = [x[:, :windows] for x in inputs]
    with patch("random.random", return_value=0.0):  # hides by zeros
        predicted = theirs(*inputs, (~hidden).long(), if_mask=True)[2]
    target = theirs(*inputs)[1]
    of_patient = code.SSLMLMBYOL.cosine_similarity(None, predicted, target, inputs[-1], (~hidden).long())
    found = result((at_ours.value, loss), (at_theirs.value, of_patient * PATIENTS / hidden.sum()), exists)
    return {"windows_equal": float((exists == inputs[-1].bool()).all(1).float().mean()), **found}


class _Given(nn.Module):
    """Stands for an embedding, and returns given vectors."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = vectors

    def forward(self, *_: object, **__: object) -> Tensor:
        return self.vectors


def transform_ehr(folder: Path, histories: Histories) -> Figures:
    ours = Ours("transformehr", histories)
    model, batch = ours.model, ours.batch
    with checkout(folder / "TransformEHR") as load:
        code, bart = load("icdmodelbart"), load("transformers.models.bart.configuration_bart")
    shape = {
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in (
            ("layers", DIMENSIONS.layers),
            ("attention_heads", DIMENSIONS.heads),
            ("ffn_dim", DIMENSIONS.feed_forward),
        )
    }
    config = bart.BartConfig(
        vocab_size=CODES + 1,
        d_model=DIMENSIONS.width,
        pad_token_id=PAD,
        normalize_before=False,
        normalize_embedding=True,
        add_final_layer_norm=False,
        static_position_embeddings=False,
        date_visit_embeddings=False,
        **shape,
    )
    theirs = code.ICDBartForPreTraining(config).eval()
    weights: Weights = {}
    for name in ("shared", "encoder.embed_tokens", "decoder.embed_tokens"):
        weights |= named(model.token, f"model.{name}")
    for part in ("encoder", "decoder"):
        weights |= named(model.norm, f"model.{part}.layernorm_embedding")
        for number, layer in enumerate(getattr(model, part).layers):
            weights |= _bart_layer(layer, f"model.{part}.layers.{number}")
    positions = tuple(
        f"model.{name}" for name in ("encoder.embed_pos", "decoder.embed_pos", "encoder.embed_v")
    )
    copy_weights(theirs, weights, apart=("final_logits_bias", *positions))

    at_ours, at_theirs = Seen(model.encoder), Seen(theirs.model.encoder.layers[0])
    with patch.object(model, "decode", wraps=model.decode) as decode:
        loss = model.pretraining_loss(batch)
    written, _, now, seen = decode.call_args.args
    visit, age = batch.channels["visit"], batch.channels["age"]
    expected = (visit == (visit * seen).amax(1, keepdim=True) + 1) & batch.present
    target, counts = transformehr._gathered(batch.token, expected)
    nothing = torch.zeros(1, 1, DIMENSIONS.width)

    def times(then: Tensor) -> Tensor:
        half = DIMENSIONS.width // 2
        return model.age(torch.cat((age_features(then, half), age_features(now - then, half)), 2))

    theirs.model.encoder.embed_positions = _Given(nothing)
    theirs.model.encoder.embed_visitids = _Given(times(age))
    theirs.model.decoder.embed_positions = _Given(times(now.expand_as(written)))
    labels = torch.where(counts, target, -100)
    theirs_loss = theirs(
        batch.token, seen.long(), decoder_input_ids=written, lm_labels=labels, visit_ids=age
    )[0]
    return result((at_ours.value, loss), (at_theirs.value.transpose(0, 1), theirs_loss), seen)


def _bart_layer(layer: Any, prefix: str) -> Weights:
    """The weights of a layer of an encoder or decoder under the names that BART's have."""
    norms = ["self_attn_layer_norm", "final_layer_norm"]
    attentions = {"self_attn": layer.self_attn}
    if isinstance(layer, nn.TransformerDecoderLayer):
        norms.insert(1, "encoder_attn_layer_norm")
        attentions["encoder_attn"] = layer.multihead_attn
    found = named(layer.linear1, f"{prefix}.fc1") | named(layer.linear2, f"{prefix}.fc2")
    for number, name in enumerate(norms, 1):
        found |= named(getattr(layer, f"norm{number}"), f"{prefix}.{name}")
    for name, attention in attentions.items():
        found |= named(attention.out_proj, f"{prefix}.{name}.out_proj")
        for kind, weight in (("weight", attention.in_proj_weight), ("bias", attention.in_proj_bias)):
            for which, part in zip("qkv", weight.detach().chunk(3), strict=True):
                found[f"{prefix}.{name}.{which}_proj.{kind}"] = part
    return found


def motor_head(folder: Path, histories: Histories) -> Figures:
    ours = Ours("motor", histories)
    model, batch = ours.model, ours.batch
    nn.init.normal_(model.code.bias, motor.LOWEST_LOG_HAZARD, 1.0)  # else waits outweigh the events
    with checkout(
        folder / "femr" / "src",
        bare=("femr",),
        unneeded=("meds", "meds_reader", "polars", "msgpack", "datasets", "xformers", "torch_hawk"),
    ) as load:
        code, tasks = load("femr.models.transformer"), load("femr.models.tasks")
    predicted = len(model.code.bias)
    info = [(str(FIRST_CODE + code_number), 1.0) for code_number in range(predicted)]
    bins = [*motor.PIECES_DAYS, math.inf]
    head = code.MOTORTaskHead(DIMENSIONS.width, info, bins, motor.PIECE_WIDTH).eval()
    weights = {
        **named(model.pieces, "final_layer"),
        **{name: weight / math.log(2) for name, weight in named(model.code, "task_layer").items()},
        "task_time_bias": torch.zeros(1, len(motor.PIECES_DAYS), predicted),
        "norm.weight": torch.ones(motor.PIECE_WIDTH),
    }
    copy_weights(head, weights)
    head.norm = nn.Identity()

    task = tasks.MOTORTask(info, bins, motor.PIECE_WIDTH)
    task.start_batch()
    ontology = SimpleNamespace(get_all_parents=lambda code: {code})
    is_labelled = torch.zeros(batch.token.shape, dtype=torch.bool)
    for patient, (token, age) in enumerate(ours.rows("token", "age")):
        # A day is a second of theirs.
        times = [dt.datetime(2000, 1, 1) + dt.timedelta(seconds=int(day)) for day in age]
        events = [SimpleNamespace(time=time, code=str(x)) for time, x in zip(times, token, strict=True)]
        task.start_subject(SimpleNamespace(events=events), ontology)
        for place, (time, following) in enumerate(pairwise(times)):
            is_labelled[patient, place] = bool(task.add_event(time, following))
        task.add_subject_labels(range(int(is_labelled[patient].sum())))
    data = task.get_batch_data()
    times_of_events = {name: torch.from_numpy(x) for name, x in data["time_sparse"].items()}
    with patch.object(torch, "float16", torch.float32):
        labels = task.cleanup(
            {"censor_time": torch.from_numpy(data["censor_time"]), "time_sparse": times_of_events}
        )

    age = batch.channels["age"].float()
    states = model.states(batch)[is_labelled]
    wait = motor.times_of_next(batch.token, age, predicted)[is_labelled] - age[is_labelled][:, None]
    censored = (batch.channels["end"] - age)[is_labelled]
    loss = motor.piecewise_loss(model.log_hazards(states), wait, censored) / wait.numel()
    theirs_loss = head(states, labels)[0] * len(motor.PIECES_DAYS)
    return {"loss": float(loss), "loss_error": relative(loss, theirs_loss)}


def med_bert(folder: Path, histories: Histories) -> Figures:
    length = ORDERS
    ours = Ours("med_bert", histories, length)
    model = ours.model
    channels = ours.batch.channels
    order = torch.arange(length).expand(ours.batch.token.shape)
    batch = ours.batch._replace(channels={**channels, "order": order})
    torch.manual_seed(SEED)
    masked = corrupt(batch.token, few_of_each(is_code(batch.token, TYPES)), TYPES)
    at_ours = Seen(model.layers)

    def losses() -> tuple[Tensor, Tensor]:
        states = model.states(batch, masked.token)
        return model.head.loss(states, model.token.weight, masked), mean_state(states, batch.present)

    exact, _ = losses()
    approximate = partial(F.gelu, approximate="tanh")
    for layer in model.layers.layers:
        layer.activation = approximate
    with patch.object(F, "gelu", approximate):
        loss, mean = losses()
    prolonged = channels["prolonged"][:, 0]
    stay = F.binary_cross_entropy_with_logits(model.stay(mean).squeeze(1), prolonged.float())

    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    tf: Any = importlib.import_module("tensorflow.compat.v1")
    tf.contrib = SimpleNamespace(layers=SimpleNamespace(layer_norm=partial(_layer_norm, tf)))
    with (
        patch.dict(sys.modules, {"tensorflow": tf}),
        checkout(folder / "Med-BERT" / "Pretraining Code") as load,
    ):
        code, training = load("modeling"), load("run_EHRpretraining")
    # At most two masked positions of each sequence; where there is one, the second weighs nothing.
    weight, place = masked.is_masked.float().topk(2, 1)
    with tf.Graph().as_default(), tf.Session() as session:
        config = code.BertConfig(
            CODES,
            DIMENSIONS.width,
            DIMENSIONS.layers,
            DIMENSIONS.heads,
            DIMENSIONS.feed_forward,
            max_position_embeddings=length,
            type_vocab_size=VISITS,
        )
        given = (masked.token, batch.present.long(), channels["visit"])
        theirs = code.BertModel(config, False, *(tf.constant(x.numpy(), tf.int32) for x in given))
        theirs_loss = training.get_masked_lm_output(
            config,
            theirs.get_sequence_output(),
            theirs.get_embedding_table(),
            tf.constant(place.numpy(), tf.int32),
            tf.constant(batch.token.gather(1, place).numpy(), tf.int32),
            tf.constant(weight.numpy()),
        )[0]
        theirs_stay = training.get_next_sentence_output(
            config, tf.constant(mean.detach().numpy()), tf.constant(prolonged.numpy(), tf.int32)
        )[0]
        weights = {
            **bert_layers(model.layers, "bert.encoder.layer"),
            **named(model.norm, "bert.embeddings.LayerNorm"),
            **masked_code_head(model, "cls.predictions", 0),
            "bert.embeddings.word_embeddings": model.token.weight,
            "bert.embeddings.token_type_embeddings": model.visit.weight,
            "bert.embeddings.position_embeddings": model.order.weight,
            "cls.predictions.output_bias": model.head.bias,
            "cls.seq_relationship.output_weights": F.pad(model.stay.weight, (0, 0, 1, 0)),
            "cls.seq_relationship.output_bias": F.pad(model.stay.bias, (1, 0)),
        }
        named_as_theirs = {_name_in_tensorflow(name): x.detach() for name, x in weights.items()}
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():
            if "pooler" not in variable.op.name:
                value = named_as_theirs[variable.op.name]
                variable.load((value.T if variable.op.name.endswith("kernel") else value).numpy(), session)
        results = session.run([theirs.get_embedding_output(), theirs_loss, theirs_stay])
    embedded, theirs_value, stay_value = (torch.tensor(x) for x in results)
    return {
        **result((at_ours.value, loss), (embedded, theirs_value), batch.present),
        "exact_gelu_loss_error": relative(exact, theirs_value),
        "stay_loss_error": relative(stay, stay_value),
    }


def _layer_norm(tf: Any, inputs: Any, begin_norm_axis: int, begin_params_axis: int, scope: str | None) -> Any:
    """What TensorFlow 1 had in its contributed layers."""
    assert begin_norm_axis == begin_params_axis == -1
    with tf.variable_scope(scope, default_name="LayerNorm"):
        shift, gain = (tf.get_variable(name, [int(inputs.shape[-1])]) for name in ("beta", "gamma"))
    mean, variance = tf.nn.moments(inputs, [-1], keepdims=True)
    return tf.nn.batch_normalization(inputs, mean, variance, shift, gain, 1e-12)


def _name_in_tensorflow(name: str) -> str:
    name = re.sub(r"layer\.(\d+)", r"layer_\1", name)
    for ending, other in (("Norm.weight", "Norm.gamma"), ("Norm.bias", "Norm.beta"), (".weight", ".kernel")):
        name = name.removesuffix(ending) + other if name.endswith(ending) else name
    return name.replace(".", "/")


COMPARISONS: dict[str, Callable[[Path, Histories], Figures]] = {
    "behrt": behrt,
    "causal": delphi,
    "cehr_bert": cehr,
    "hi_behrt": hi,
    "transformehr": transform_ehr,
    "motor_head": motor_head,
    "med_bert": med_bert,
}


if __name__ == "__main__":
    main()
