"""Rollout and TS-CAM against loops over what timm's own blocks attend to."""

import copy

import numpy as np
import pytest
import reference as ref
import reference_methods as more
import torch
from looks_made import SIZES, K, close, cut, model_of, transformer, wide
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from toys import C, images, refusal, shake

from bsoftmax.cams import METHODS, View, class_map, explain, unavailable
from bsoftmax.cams.sources import SOURCES


@torch.no_grad()
def attentions(net, x):
    """What timm's own blocks attend to, taken from them on the way: [B,T,T] for each block, the mean over heads."""
    net, seen = copy.deepcopy(net), []
    for block in net.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, given, out: seen.append(given[0].mean(1)))
    net.forward_features(x)
    return seen


@pytest.mark.parametrize("prefix", [1, 3])
def test_attention_rollout_agrees_with_the_loops(prefix):
    net, model = transformer(prefix)
    x, S = wide(), explain(model, wide(), 0, "rollout")
    A = attentions(net, x)
    assert S.shape == (2, 4, 5)
    for b in range(2):
        close(S[b].flatten(), more.rollout([a[b].numpy() for a in A])[0, prefix:])


@pytest.mark.parametrize("source", SOURCES)
def test_ts_cam_is_the_mean_attention_times_what_the_head_reads_in_each_patch(source):
    net, model = transformer(3)
    x, S = wide(), explain(model, wide(), K, "tscam", source)
    with torch.no_grad():
        h = net.forward_head(net.forward_features(x)[:, 3:].reshape(-1, 1, 12), pre_logits=True)
        z = model.classifier(SOURCES[source].branch)(h).reshape(2, 20, C)
    for b in range(2):
        a = ref.gap(np.stack([A[b, 0, 3:].numpy() for A in attentions(net, x)]).T)  # the mean over blocks
        close(S[b].flatten(), a * [ref.SCORES[source](row.tolist(), int(K[b])) for row in z[b]])


def test_the_methods_of_attention_share_one_more_pass_and_leave_no_trace():
    _, model = transformer(1)
    parts = [(name, id(m)) for name, m in model.named_modules()]
    view, blocks, ran = View(model, wide()), model.trunk.net.blocks, []
    forward = blocks[0].forward
    blocks[0].forward = lambda x: ran.append(len(x)) or forward(x)
    maps = [class_map(view.evidence(s, k), m) for m in ("rollout", "tscam") for s in SOURCES for k in (0, 1)]
    del blocks[0].forward
    assert ran == [2]
    assert all(torch.equal(S, maps[0]) for S in maps[:8])  # knows no class and no head
    assert not torch.allclose(maps[8], maps[9])
    assert [(name, id(m)) for name, m in model.named_modules()] == parts
    close(explain(model, wide()[1:], 1, "tscam", "softmax")[0], maps[9][1])


def test_attention_is_read_in_no_other_network():
    for key in ("rollout", "tscam"):
        assert "reads a class token" in refusal(lambda key=key: explain(model_of("token"), images(), 0, key))


def test_where_two_tokens_are_read_each_patch_is_read_by_both_heads():
    torch.manual_seed(0)
    net = shake(VisionTransformerDistilled(**SIZES)).double().eval()
    x, S = wide(), explain(cut(net), wide(), K, "tscam", "softmax")
    with torch.no_grad():
        patches = net.forward_features(x)[:, 2:]
        z = (net.head(patches) + net.head_dist(patches)) / 2
    for b in range(2):
        a = ref.gap(np.stack([A[b, 0, 2:].numpy() for A in attentions(net, x)]).T)
        close(S[b].flatten(), a * z[b, :, K[b]].numpy())


def test_blocks_of_another_kind_and_pooled_patches_are_refused():
    torch.manual_seed(0)
    model = cut(VisionTransformer(**SIZES).double().eval())
    assert unavailable(model, "rollout") is None
    model.trunk.net.blocks[1] = ResPostBlock(12, 3).double()  # the same attention, behind which it is normalised
    assert "plain attention" in unavailable(model, "rollout")
    pooled = cut(VisionTransformer(**SIZES, global_pool="avg", class_token=True).double().eval())
    assert "class token" in unavailable(pooled, "rollout")


def test_the_pass_is_told_once():
    told, view = [], View(transformer(1)[1], wide())
    for method in ("tscam", "rollout"):
        class_map(view.evidence("softmax", K), method, tick=lambda *at: told.append(at))
    assert told == [(1, 1)]


@pytest.mark.parametrize("method", ["rollout", "tscam"])
def test_a_method_is_said_to_be_class_free_where_its_map_depends_on_neither_class_nor_head(method):
    _, model = transformer(1)
    first, *others = [explain(model, wide(1), k, method, source) for source in ("softmax", "sigmoid") for k in (0, 1)]
    assert METHODS[method].class_free == all(torch.equal(first, other) for other in others)
