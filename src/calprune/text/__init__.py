"""Text: from a name to documents. A map of the room.

find       a name becomes a source here: of the catalogue, a file, and the kinds that other rooms register
kinds      the registry of those kinds: the folder of a built set, `self`
source     what every source offers; records and files
read       the kinds of file: from a file to records
given      what sources, filters, strategies and selections need, as one object: model, tokenizer, data root
catalogue  every named source, a YAML each
filters    which documents may be drawn: a kind of filter a file
shared_wording   what a text has in common with evaluation sets
"""
