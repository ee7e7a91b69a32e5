"""How results are read: numbers, tables, charts, sections and pages, each as text, Markdown, HTML, CSV and JSON.

| module | what |
|---|---|
| `numbers` | numbers with the digits that say something, intervals, p-values |
| `table` | named columns of plain values and estimates |
| `chart` | points and how they are drawn (altair, an optional extra, is imported where a chart is drawn) |
| `page` | sections and pages; `HasPage`, what a result that can be read is |
| `html` | the templates `page.html` and `parts.html` filled in, with `page.css` and `page.js` |

No torch is imported here.
"""

from calprune.pages.page import HasPage, Page, Section, Stretch, TextBlock
from calprune.pages.table import Column, Table, Value

__all__ = ["Column", "HasPage", "Page", "Section", "Stretch", "Table", "TextBlock", "Value"]
