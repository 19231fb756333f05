"""GenSR: dual history views, soft filter, instruction prompt, generative answer (section 4 of the paper).

Dimensions: G groups, C candidates, N history places, K entries of all histories, T title tokens, U distinct items and W
distinct tokens of the batch, P block tokens, X slots, Z searching groups, V vocabulary, A possible answers (V, or the
two), E width of a CF vector, D of T5, H of the towers, R requests, S context tokens, F features, Q query tokens.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.errors import InputError
from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.dispatch import check_path
from gensr_dist.model.backbone import Backbone
from gensr_dist.model.config import Likelihood, ModelConfig
from gensr_dist.model.evidence import EvidenceEncoder
from gensr_dist.model.history import HistoryEncoder
from gensr_dist.model.history_match import HistoryMatch
from gensr_dist.model.inputs import InputBuilder, ModelInput
from gensr_dist.model.match import Match, MatchTowers
from gensr_dist.model.pooling import masked_mean
from gensr_dist.model.prompt import TEXT_SLOT, PromptAssembler
from gensr_dist.model.soft_filter import MeanFilter, SoftFilter
from gensr_dist.model.t5 import load_t5, open_t5, save_t5
from gensr_dist.model.t5_layers import FeedForward, RMSNorm
from gensr_dist.model.t5_modules import T5
from gensr_dist.model.term_match import TermMatch
from gensr_dist.model.views import Views
from gensr_dist.storage.durable import durable_folder


@dataclass(frozen=True)
class GenSROutput:
    """One forward pass."""

    nll_GC: Tensor  # -log P(label's answer | prompt), 0 for padded candidates
    yes_log_odds_GC: Tensor  # log P(Yes) - log P(No)
    user_cf_GD: Tensor  # the user's history in each view, for eq. 10
    user_semantic_GD: Tensor
    has_history_G: Tensor  # bool
    match: Match | None  # the towers' vectors, where the model has towers


@dataclass(frozen=True, kw_only=True)
class GenSRShape:
    """What a saved model is made of, besides its weights."""

    model: ModelConfig
    cf_width: int
    cf_scale: float  # factor that brings the CF table to a mean square of one
    yes: int  # token ids of the answers
    no: int


class GenSR(nn.Module):
    """The model of section 4. Build one with `GenSR.build` or `GenSR.from_pretrained`."""

    def __init__(self, shape: GenSRShape, t5: T5, tokenizer: TextTokenizer, token_idf_V: Tensor) -> None:
        super().__init__()
        config = shape.model
        self.shape = shape
        self.backbone = Backbone(t5, config.scoring)
        self.inputs = InputBuilder(
            config,
            PromptAssembler(config.prompts, tokenizer),
            vocabulary=t5.shared.num_embeddings,
            start=self.backbone.start,
        )
        cf, semantic = shape.cf_width, self.backbone.width
        self.cf_history = HistoryEncoder(cf, config.cf_heads, config.dropout)
        self.semantic_history = HistoryEncoder(semantic, config.semantic_heads, config.dropout)
        self.cf_filter = SoftFilter(cf, config.cf_heads) if config.soft_filter else MeanFilter(cf)
        self.semantic_filter = (
            SoftFilter(semantic, config.semantic_heads) if config.soft_filter else MeanFilter(semantic)
        )
        self.cf_projection = nn.Linear(cf, semantic)
        self.cf_match = HistoryMatch(semantic) if config.history_match else None
        self.semantic_match = HistoryMatch(semantic) if config.history_match else None
        self.match = MatchTowers(cf, semantic) if config.match else None
        self.term_match = TermMatch(semantic) if config.term_match else None
        self.query_evidence = EvidenceEncoder.of_queries(semantic) if config.query_evidence else None
        self.history_evidence = EvidenceEncoder.of_histories(semantic, config) if config.history_evidence else None
        self.token_idf_V: Tensor
        self.register_buffer("token_idf_V", token_idf_V)
        self.answers: Tensor
        self.register_buffer("answers", torch.tensor([shape.no, shape.yes]), persistent=False)

    @classmethod
    def build(
        cls,
        config: ModelConfig,
        tokenizer: TextTokenizer,
        cf_width: int,
        cf_scale: float = 1.0,
        token_idf_V: NDArray[np.float32] | None = None,
    ) -> "GenSR":
        """A model to train, its backbone pretrained where `config.backbone` names a pretrained one.

        Args:
            config: of the model.
            tokenizer: of its texts.
            cf_width: of the CF vectors.
            cf_scale: brings them to a mean square of one.
            token_idf_V: weight of each token in a pooled text, `token_idf` of the catalogue; None weighs all alike.

        Raises:
            InputError: the backbone cannot be loaded, a template is wrong, heads do not divide a width, or the
                tokenizer begins both answers with the same token.
        """
        no, yes = tokenizer.answers()
        t5 = load_t5(config.backbone, len(tokenizer), config.dropout)
        for key, heads, width in (
            ("cf_heads", config.cf_heads, cf_width),
            ("semantic_heads", config.semantic_heads, t5.config.d_model),
        ):
            if width % heads:
                raise InputError(f"model.{key}", f"{heads} heads do not divide a width of {width}", "choose a divisor")
        shape = GenSRShape(model=config, cf_width=cf_width, cf_scale=cf_scale, yes=yes, no=no)
        weight_V = torch.ones(t5.shared.num_embeddings)
        if token_idf_V is not None:
            weight_V[: len(token_idf_V)] = torch.from_numpy(token_idf_V)
        return cls(shape, t5, tokenizer, weight_V)

    def save_pretrained(self, folder: Path, tokenizer: TextTokenizer) -> None:
        """Write `gensr.json`, `gensr.safetensors`, `backbone/` and `tokenizer/`, replacing the folder as a whole."""
        with durable_folder(folder) as temporary:
            (temporary / "gensr.json").write_text(json.dumps(dataclasses.asdict(self.shape), indent=2) + "\n")
            own = {k: v.contiguous() for k, v in self.state_dict().items() if not k.startswith("backbone.")}
            save_file(own, temporary / "gensr.safetensors")
            save_t5(self.backbone.t5, temporary / "backbone")
            tokenizer.save(temporary / "tokenizer")

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, reads: TextTokenizer | None = None, cf_width: int | None = None
    ) -> "GenSR":
        """Load what `save_pretrained` wrote.

        Args:
            folder: of the model.
            reads: tokenizer of the texts that the model will be given, checked to be its own.
            cf_width: of the CF vectors that it will be given, checked too.

        Raises:
            InputError: the folder is not a saved model, does not fit together, or is of other tokens or vectors.
        """
        remedy = "train a model into this run folder, or copy the saved one again"
        try:
            shape = TypeAdapter(GenSRShape).validate_json((folder / "gensr.json").read_text(encoding="utf-8"))
            own = load_file(folder / "gensr.safetensors")
            tokenizer = TextTokenizer.open(folder / "tokenizer")
            t5 = open_t5(folder / "backbone")
        except (OSError, ValueError, SafetensorError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(folder, f"not a saved GenSR model ({reason})", remedy) from None
        if reads is not None and reads.vocabulary != tokenizer.vocabulary:
            raise InputError(folder, "the model was trained with another tokenizer than that of the shards", remedy)
        if cf_width is not None and cf_width != shape.cf_width:
            raise InputError(folder, f"a model for CF vectors of width {shape.cf_width}, not {cf_width}", remedy)
        try:
            model = cls(shape, t5, tokenizer, torch.ones(t5.shared.num_embeddings))
            own_names = {name for name in model.state_dict() if not name.startswith("backbone.")}
            if own_names != own.keys():
                raise ValueError(f"weights {sorted(own_names ^ own.keys())[:3]} are missing or unknown")
            model.load_state_dict(own, strict=False)
        except (ValueError, RuntimeError) as error:
            raise InputError(folder, f"its parts do not fit together ({error})", remedy) from None
        return model.eval()

    def use_kernels(self, path: KernelPath) -> "GenSR":
        """Let the fused operations of this model take a path, `auto` until then; returns the model.

        Raises:
            InputError: this machine does not have it.
        """
        check_path(path)
        # cuDNN's attention makes a plan for every new shape, and hardly two batches have the same: no run wants it.
        torch.backends.cuda.enable_cudnn_sdp(False)
        for module in self.modules():
            if isinstance(module, SoftFilter | RMSNorm | FeedForward):
                module.kernels = path
        return self

    def forward(self, inputs: ModelInput, likelihood: Likelihood = "vocabulary") -> GenSROutput:
        """Answer every candidate of every group of a batch (eq. 3 to 7 and the likelihood of eq. 9).

        Args:
            inputs: what `self.inputs` made of the batch, on the model's device.
            likelihood: over the whole `vocabulary`, or over the two `answers`, whose logits alone are computed then.
        """
        batch, cf_history, text_history = inputs.batch, inputs.cf_history, inputs.semantic_history
        views = self.views(inputs)
        cf_UE, text_UD = views.cf_UE, views.text_UD
        item_cf_GCE = cf_UE[batch.candidate_GC]
        history_cf_GCE = self.cf_filter(item_cf_GCE, views.cf_GNE, cf_history.mask_GN)
        item_text_GCD = text_UD[batch.candidate_GC]
        history_text_GCD = self.semantic_filter(item_text_GCD, views.text_GND, text_history.mask_GN)
        history_cf_GCD = self.cf_projection(history_cf_GCE)
        if self.cf_match is not None and self.semantic_match is not None:
            history_cf_GCD = history_cf_GCD + self.cf_match(cf_UE, batch.history_GL, batch.candidate_GC)
            history_text_GCD = history_text_GCD + self.semantic_match(text_UD, batch.history_GL, batch.candidate_GC)
        match, told = None, []
        if self.match is not None:
            item_UH = self.match.items(self._visible(cf_UE, text_UD))
            match, product_GCD = self.match(self._match_users(self.match, inputs, views), item_UH, batch.candidate_GC)
            told.append(product_GCD)
        if self.history_evidence is not None:
            told.append(self.history_evidence(batch.history_evidence_GCF))
        if self.shape.model.cf_view:
            history_cf_GCD = sum(told, history_cf_GCD)
        else:
            history_text_GCD = sum(told, history_text_GCD)
        if self.term_match is not None:
            title_ZCT = inputs.title_UT[batch.candidate_GC[inputs.searching_Z]]
            found_ZCD = self.term_match(views.token_WD, views.weight_W, inputs.term_A, inputs.query_ZQ, title_ZCT)
            item_text_GCD = item_text_GCD.index_add(0, inputs.searching_Z, found_ZCD)
        if self.query_evidence is not None:
            known_ZCD = self.query_evidence(batch.query_evidence_GCF[inputs.searching_Z])
            item_text_GCD = item_text_GCD.index_add(0, inputs.searching_Z, known_ZCD)

        slot_GCXD = torch.stack(
            [history_cf_GCD, history_text_GCD, self.cf_projection(item_cf_GCE), item_text_GCD], dim=2
        )
        target_GC = batch.label_GC  # 0 and 1 are the places of No and Yes among the answers, too
        if likelihood == "vocabulary":
            logit_GCA = self._answer(inputs, views.token_WD, slot_GCXD, None)
            no_yes_GC2 = logit_GCA[..., self.answers]
            target_GC = torch.where(target_GC == IGNORED, IGNORED, self.answers[target_GC.clamp_min(0)])
        else:
            logit_GCA = no_yes_GC2 = self._answer(inputs, views.token_WD, slot_GCXD, self.answers)
        return GenSROutput(
            nll_GC=self._nll(logit_GCA, target_GC),
            yes_log_odds_GC=no_yes_GC2[..., 1] - no_yes_GC2[..., 0],
            user_cf_GD=self.cf_projection(views.user_cf_GE),
            user_semantic_GD=views.user_text_GD,
            has_history_G=cf_history.mask_GN.any(1) & text_history.mask_GN.any(1),
            match=match,
        )

    def score(self, batch: Batch) -> Tensor:
        """P(Yes) / (P(Yes) + P(No)) of every candidate [G, C] of a batch on the host: one token is generated."""
        inputs = self.inputs(batch).to(self.answers.device)
        return self(inputs, "answers").yes_log_odds_GC.float().sigmoid()

    def item_semantic(self, title_UT: Tensor) -> Tensor:
        """Pooled token embeddings of each title [U, D]; zeros for an empty one."""
        return _pooled(title_UT, self.token_embeddings(), self.token_idf_V)

    def match_users(self, inputs: ModelInput) -> Tensor:
        """Vectors of the user tower [G, H], of histories and queries alone; the model must have towers."""
        assert self.match is not None
        return self._match_users(self.match, inputs, self.views(inputs))

    def match_items(self, cf_UE: Tensor, title_UT: Tensor) -> Tensor:
        """Vectors of the item tower [U, H]; the model must have towers.

        Args:
            cf_UE: CF vectors as they are on disk.
            title_UT: title tokens.
        """
        assert self.match is not None
        cf_UE = cf_UE.to(self.cf_projection.weight.dtype) * self.shape.cf_scale
        return self.match.items(self._visible(cf_UE, self.item_semantic(title_UT)))

    def token_embeddings(self) -> nn.Parameter:
        """The token table [V, D]."""
        return self.backbone.t5.shared.weight

    def views(self, inputs: ModelInput) -> Views:
        """Items and encoded histories in both views."""
        batch, cf_history, text_history = inputs.batch, inputs.cf_history, inputs.semantic_history
        cf_UE = batch.cf_UE.to(self.cf_projection.weight.dtype) * self.shape.cf_scale
        token_WD = self.backbone.embed(inputs.token_W)
        weight_W = self.token_idf_V[inputs.token_W]
        text_UD = _pooled(inputs.title_UT, token_WD, weight_W)
        cf_GNE = self.cf_history(cf_UE[cf_history.entry_K], cf_history)
        table = token_WD if self.shape.model.semantic_history == "tokens" else text_UD
        text_GND = self.semantic_history(F.embedding(text_history.entry_K, table), text_history)
        return Views(
            cf_UE=cf_UE,
            token_WD=token_WD,
            weight_W=weight_W,
            text_UD=text_UD,
            cf_GNE=cf_GNE,
            text_GND=text_GND,
            user_cf_GE=masked_mean(cf_GNE, cf_history.mask_GN),
            user_text_GD=masked_mean(text_GND, text_history.mask_GN),
        )

    def _match_users(self, match: MatchTowers, inputs: ModelInput, views: Views) -> Tensor:
        user = self._visible(views.user_cf_GE, views.user_text_GD)
        return match.users(user, self._asked(inputs, views.token_WD, views.weight_W))

    def _visible(self, cf_XE: Tensor, text_XD: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of both views, zeros in place of one that is switched off."""
        config = self.shape.model
        return (
            cf_XE if config.cf_view else torch.zeros_like(cf_XE),
            text_XD if config.semantic_view else torch.zeros_like(text_XD),
        )

    @staticmethod
    def _asked(inputs: ModelInput, token_WD: Tensor, weight_W: Tensor) -> Tensor:
        """Pooled tokens of each group's query [G, D]; zeros where it has none."""
        asked_ZD = _pooled(inputs.term_A[inputs.query_ZQ], token_WD, weight_W)
        nothing_GD = asked_ZD.new_zeros(len(inputs.batch.task_G), asked_ZD.shape[1])
        return nothing_GD.index_copy(0, inputs.searching_Z, asked_ZD)

    def _answer(self, inputs: ModelInput, token_WD: Tensor, slot_GCXD: Tensor, answers: Tensor | None) -> Tensor:
        """Logits of the first answer token, slots in their places of the prompt (eq. 7); see `Backbone.forward`."""
        _, C, _, D = slot_GCXD.shape
        slot_GP = inputs.block_slot_GP
        place_GCPD = slot_GP.clamp_min(0)[:, None, :, None].expand(-1, C, -1, D)
        # Here and in `views`: gradients of many copies are summed at once, in fp32; an index adds them one by one.
        context_RSD = F.embedding(inputs.context_RS, token_WD, padding_idx=0)
        text_GCPD = F.embedding(inputs.block_GP, token_WD, padding_idx=0)[:, None].to(slot_GCXD.dtype)
        block_GCPD = torch.where((slot_GP == TEXT_SLOT)[:, None, :, None], text_GCPD, slot_GCXD.gather(2, place_GCPD))
        return self.backbone(context_RSD, block_GCPD, token_WD[inputs.start], inputs.layout, answers)

    @staticmethod
    def _nll(logit_GCA: Tensor, target_GC: Tensor) -> Tensor:
        """-log softmax of the target's logit."""
        return F.cross_entropy(
            logit_GCA.float().flatten(0, 1), target_GC.flatten(), ignore_index=IGNORED, reduction="none"
        ).view_as(target_GC)


def _pooled(title_UT: Tensor, table_WD: Tensor, weight_W: Tensor) -> Tensor:
    """Weighted mean embedding of each title's tokens [U, D]; zeros for one without a token that weighs anything."""
    weight_UT = weight_W[title_UT] * (title_UT != 0)
    share_UT = weight_UT / weight_UT.sum(1, keepdim=True).clamp_min(torch.finfo(weight_W.dtype).tiny)
    return F.embedding_bag(title_UT, table_WD, mode="sum", per_sample_weights=share_UT.to(table_WD.dtype))
