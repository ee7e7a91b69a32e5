"""A study's results to look at and to work with: one HTML page, CSV, JSON, Markdown. No torch is imported here.

| module | what |
|---|---|
| `findings` | the rows as cells, comparisons of sources and of methods, retention by capability, by `uncertainty` |
| `settings` | fields, names and order of settings; controls and sources judged on their own text |
| `claims` | do a paper's claims hold? |
| `answer` | the answer in two sentences, and the warnings |
| `sections` | one section of the page a file |
| `page` | which sections the page has, in their order |
| `files` | what is written |
| `kept` | the results in one Parquet file, from which all of this is made anew |
| `query` | SQL over the rows; no mean over several metrics |
"""

from calprune.report.files import write_claims, write_csv, write_html, write_json, write_markdown
from calprune.report.kept import read_results, write_parquet

__all__ = [
    "read_results", "write_claims", "write_csv", "write_html", "write_json", "write_markdown", "write_parquet",
]  # fmt: skip
