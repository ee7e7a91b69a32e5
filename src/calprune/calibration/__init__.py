"""Calibration data: from a name or a file to a set of tokens. A map of the room, in the order in which data flow.

The set        set (the artefact), provenance, describe, card, page, export, check
The recipe     spec (as text and YAML), recipe (build), opened (a part with its source), licences
Sources        sources, catalogue/, places, hub, read, streams, records, controls
Formats        formats, writing (rows to documents), chat, document
Filters        filters, filtering, judge, words, language, near_duplicates, contamination
Which ones     draw (random, apart from other seeds'), selection, activations, clusters
Into tokens    encode, layout, pairs
Self-written   synthesise (the source `self`), asking, strategies, respond, generate, slots, sampling,
               vllm_engine, screen, likelihood
Compared       texts, similarity, overlap, minhash, minkpp, similarity_page (text against text);
               compare, halves, distance, compared (set against set)
"""
