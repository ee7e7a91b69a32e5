"""The sections of a study's page, one a file: each a function of `Findings` that gives a `Section`.

To add one, write its file with such a function and name it in `report.page.SECTIONS`.
"""
