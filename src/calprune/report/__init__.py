"""A study's results to look at and to work with: one HTML page, CSV, JSON, Markdown. No torch is imported here.

| module | what |
|---|---|
| `findings` | the rows as cells, comparisons of sources and of methods, by the statistics of `uncertainty` |
| `capabilities` | retention by capability |
| `claims` | do a paper's claims hold? |
| `tables`, `tabulate` | what a table is; findings as tables |
| `sentences`, `told` | the answer; how numbers were made, and other words of the page |
| `charts`, `panels` | charts by altair; which charts the page has |
| `page` | the page: `page.html`, `page.css`, `page.js` filled in |
| `files` | what is written |
| `names` | names of settings and numbers as they are read |
"""

from calprune.report.files import write_claims, write_csv, write_html, write_json, write_markdown

__all__ = ["write_claims", "write_csv", "write_html", "write_json", "write_markdown"]
