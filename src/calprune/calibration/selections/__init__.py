"""Which documents of a source a set takes: at random, or the best of a random pool of candidates.

    random           as they come in the draw's random order
    unique_tokens    ZipCal: each next document brings the most words that those before it lack
    zipf             ZipCal: documents of rare words first
    cluster          COLA, EvoP: a document of each cluster of the model's hidden states
    herding          documents whose mean of x² at the model's linears is together that of the whole pool, or of a
                     mixture of capabilities

ZipCal: "ZipCal", 2026, arXiv:2603.16105. COLA: "Preserving LLM capabilities through calibration data curation",
NeurIPS 2025, arXiv:2510.10618. EvoP: arXiv:2502.14910. Herding: Chen, Welling, Smola, "Super-samples from kernel
herding", UAI 2010, here of the statistics that pruning reads.

A selection puts its candidates into an order, and the layout takes as many as it needs. Candidates are the documents
of one seed's draw, so seeds stay apart. Each is looked at as far as a sequence would hold it. Unlike the papers, the
sources of a mixture are chosen from one by one, and keep their shares.
"""

from calprune.base.calls import Registry
from calprune.calibration.selections.contract import Random, Selection
from calprune.calibration.selections.states import Cluster, Herding
from calprune.calibration.selections.words import UniqueTokens, Zipf

SELECTIONS = Registry(
    "selection",
    {
        "cluster": Cluster,
        "herding": Herding,
        "random": Random,
        "unique_tokens": UniqueTokens,
        "zipf": Zipf,
    },
    '"zipf(pool=500)"',
    Selection,
)
