"""The card of a calibration set, by huggingface_hub: metadata that the hub reads, and lines of use."""

from collections.abc import Sequence

from calprune.calibration.provenance import Drawn
from calprune.text.find import catalogue

USE = """## Use

```
calprune prune MODEL --calibration THIS_FOLDER --pattern 2:4 --out pruned
```

```python
import calprune

data = calprune.CalibrationSet.load("THIS_FOLDER")  # data.tokens: sequences x tokens; data.weights: of each token
calprune.prune("MODEL", data, pattern="2:4").save("pruned")
```
"""
LICENCES = {  # as the catalogue writes it, and as the hub does
    "MIT": "mit", "Apache-2.0": "apache-2.0", "CC BY 4.0": "cc-by-4.0", "CC BY-SA 4.0": "cc-by-sa-4.0",
    "CC BY-SA 3.0": "cc-by-sa-3.0", "CC BY-NC 4.0": "cc-by-nc-4.0", "CC0": "cc0-1.0", "ODC-By": "odc-by",
}  # fmt: skip
SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))  # of the hub


def set_card(body: str, name: str, sequences: int, drawn: Sequence[Drawn]) -> str:
    """A card with this body. name: what the set is called; drawn: what each source gave."""
    from huggingface_hub import DatasetCard, DatasetCardData  # its import takes as long as torch's

    sources = [catalogue()[one.source] for one in drawn if one.source in catalogue()]
    licences = {LICENCES.get(one.licence, "other") for one in drawn}
    languages = sorted({source.language for source in sources if len(source.language) == 2})
    about = DatasetCardData(
        pretty_name=name, license=sorted(licences) or None, language=languages or None,
        size_categories=next((size for most, size in SIZES if sequences < most), "100K<n<1M"),
        source_datasets=[f"extended|{path}" for path in hub_names([one.source for one in drawn])] or ["original"],
        task_categories=["text-generation"], tags=["calprune", "calibration", "pruning"],
    )  # fmt: skip
    return str(DatasetCard(f"---\n{about.to_yaml()}\n---\n{body}\n\n{USE}", ignore_metadata_errors=False))


def hub_names(sources: Sequence[str]) -> list[str]:
    """The data sets on the hub that sources of the catalogue are of."""
    known = [catalogue()[name] for name in dict.fromkeys(sources) if name in catalogue()]
    return sorted({source.hub.path for source in known if source.hub is not None and source.hub.path})
