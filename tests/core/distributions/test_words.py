"""The format, word for word: what is on the stack after a pop, a pop and a push under fixed parameters.

A change of any of these makes all archives unreadable.
"""

import hashlib

import pytest
import torch

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions import Bernoulli, Categorical, Gaussian, LogisticMixture, Mixture, Uniform


def ramp(low, high, *shape):
    """Whole numbers low .. high - 1 in an order without pattern, the same everywhere."""
    count = torch.Size(shape).numel()
    return (torch.arange(count) * 7919 % (high - low) + low).float().reshape(shape)


FAMILIES = {
    "gaussian": lambda n: Gaussian(ramp(-2200, 2203, n, 9), ramp(-1300, 701, n, 9), 32),
    "bernoulli": lambda n: Bernoulli(ramp(-2500, 2503, n, 40)),
    "logistic-3": lambda n: LogisticMixture(ramp(-900, 907, n, 2, 36), 3),
    "logistic-1": lambda n: LogisticMixture(ramp(-1500, 1507, n, 5, 9), 1),
    "uniform": lambda n: Uniform(1000, (n, 7)),
    "categorical": lambda n: Categorical(ramp(1, 101, n, 6, 5)),
    "mixture": lambda n: Mixture(ramp(-300, 301, 4), Gaussian(ramp(-500, 501, 4, 5), ramp(-300, 1, 4, 5), 16), n),
}


def message(family, images):
    """The words of two lanes."""
    d, stack = FAMILIES[family](images), AnsStack.seeded(0, lanes=2)
    value = d.pop(stack)
    d.pop(stack)
    d.push(stack, value)
    return stack.flatten().tolist()


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("gaussian", [102499055, 9235, 2761726751, 3672577957, 2001509377, 2144462099, 1881297888]),
        ("bernoulli", [141310024, 0, 2933385779, 3113569394, 2599486088]),
        ("logistic-3", [1479, 6010, 3088881782, 1970264425, 2520479555, 420563392]),
        ("logistic-1", [9263, 13, 2500787970, 1685746660, 1215484056, 4125850422]),
        ("uniform", [149428544, 113347176, 86021627, 1182307751, 2242322942, 1488294215, 2290155473, 3268617952]),
        ("categorical", [243243, 549740, 3105951279, 2322644620]),
        ("mixture", [0, 14, 2910375477, 3291880809, 1131588939, 340726703]),
    ],
)
def test_words_of_two_images(family, words):
    assert message(family, 2) == words


@pytest.mark.parametrize(
    ("family", "digest"),
    [
        ("gaussian", "eb7c2902d46f461f"),
        ("bernoulli", "1f8d23c531156862"),
        ("logistic-3", "428845b20d5dc17b"),
        ("logistic-1", "299a474c2e872fa8"),
        ("uniform", "c372183a197f444b"),
        ("categorical", "8d5813a112778955"),
        ("mixture", "e18b4127cc303c27"),
    ],
)
def test_digest_of_the_words_of_500_images(family, digest):
    data = b"".join(word.to_bytes(4, "little") for word in message(family, 500))
    assert hashlib.blake2b(data, digest_size=8).hexdigest() == digest
