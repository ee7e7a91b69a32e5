"""Calibration data: from a name or a file to a set of tokens. A map of the room, in the order in which data flow.

The set        set (the artefact), provenance, describe, card, page, export, check
The recipe     spec (as text and YAML), recipe (build), opened (a part with its source), set_source (a built set's
               folder as a source)
Sources        places, hub, records, controls (with `calprune.text`: find, source, read, given)
Formats        formats, writing (rows to documents), chat, document
Filters        filtering, words (with `calprune.text.filters`)
Which ones     draw (random, apart from other seeds'), selection, activations, clusters
Into tokens    encode, layout, pairs
Self-written   synthesise (the source `self`), asking, strategies, respond, generate, slots, sampling,
               vllm_engine, screen, likelihood
Compared       similarity, overlap, minhash, minkpp, similarity_page (text against text);
               compare, halves, distance, compared (set against set)
"""

from pathlib import Path
from typing import Any

from calprune.text.kinds import SourceKind, register


def _is_folder(name: str) -> bool:
    if not Path(name).is_dir():
        return False
    from calprune.text.find import catalogue

    return name not in catalogue()


def _find_set(name: str) -> Any:
    from calprune.calibration.set_source import find_set  # imports torch

    return find_set(name)


register(SourceKind("set", _is_folder, _find_set))
