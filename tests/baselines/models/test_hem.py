"""HEM: the mixture of query and user, and the users' words."""

from typing import Any

import torch

from tests.baselines.layers.checks import assert_close, learnt
from tests.baselines.models.planted import build, query_vector, random_rows


@torch.no_grad()
def test_is_a_mixture_of_query_and_user() -> None:
    model: Any = learnt(build("hem", {"query_share": 0.3}))
    batch = random_rows(1)
    score_GC = model.score(batch)
    for group, user in enumerate(batch.user_G.tolist()):
        intent_D = 0.3 * query_vector(model, batch.query_GQ[group]) + 0.7 * model.users.table.weight[user + 1]
        for place, slot in enumerate(batch.candidate_GC[group].tolist()):
            assert_close(score_GC[group, place], intent_D @ model.items.table.weight[slot - 1] + model.bias_I[slot - 1])


@torch.no_grad()
def test_with_the_query_alone_it_is_qem() -> None:
    model = learnt(build("hem", {"query_share": 1.0}))
    qem = build("qem").double()
    qem.load_state_dict({key: value for key, value in model.state_dict().items() if "users" not in key})
    assert_close(model.score(random_rows(2)), qem.score(random_rows(2)))


@torch.no_grad()
def test_users_tell_the_words_of_their_histories() -> None:
    model: Any = learnt(build("hem", {"word_negatives": 3}))
    batch = random_rows(3)
    torch.manual_seed(4)
    part = model(batch).parts["user_words"]
    torch.manual_seed(4)
    model.sampler.draw(3 * len(batch.user_G), torch.default_generator)  # those of the items
    negatives = model.sampler.draw(3, torch.default_generator).tolist()
    table_VD, bias_V, expected = model.words.weight, model.word_bias_V, 0.0
    for group, user in enumerate(batch.user_G.tolist()):
        user_D = model.users.table.weight[user + 1]
        slots = [slot for slot in batch.history_GL[group].tolist() if slot]
        words = [word for slot in slots for word in batch.title_UT[slot].tolist() if word]
        for word in words:
            loss = -(user_D @ table_VD[word] + bias_V[word]).sigmoid().log()
            loss -= sum((-(user_D @ table_VD[other] + bias_V[other])).sigmoid().log() for other in negatives)
            expected += loss / len(words)
    assert_close(part, expected / batch.step_groups)
