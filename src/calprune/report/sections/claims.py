"""The claims that a study was made to judge, and whether they hold here."""

from calprune.pages.page import Section
from calprune.pages.table import Column, Table
from calprune.report.claims import judge
from calprune.report.findings import Findings
from calprune.report.sections.columns import VERDICT

NOTE = (
    "Held: the whole interval is on the claim's side, after Holm's correction over all claims of the study. Not held: "
    "the whole of it is on the other. Else it cannot be told here, which says nothing against the claim. The intervals "
    "shown are each of 95 %, not corrected; p is the smallest error rate at which a claim's interval decides it, after "
    "Holm's correction, and a verdict needs one under 0.05. Differences are paired by item, with the variance of draws "
    "and items; of several sources the smallest is shown, with an interval that holds for all of them (Bonferroni). "
    "SDs and shares are about other draws with the same items. The draws that would tell are those with which 80 % of "
    "studies decide the claim, if the truth is what was found and items grow as draws do. A paper's claim that does "
    "not hold here may hold there, for its model is another."
)
NOT_VERIFIED = "figure not verified"


def claims(findings: Findings) -> Section:
    """A row a claim."""
    heads = (Column("claim"), Column("in the paper"), Column("measured", "estimate"), Column("of what"), VERDICT,
             Column("why"), Column("p, Holm", "p"))  # fmt: skip
    rows = tuple(
        (one.claim.says, one.claim.paper or NOT_VERIFIED, one.judgement.estimate, one.judgement.what or "—",
         one.judgement.verdict, one.why, one.adjusted_p)
        for one in judge(findings)
    )  # fmt: skip
    table = Table("claims", "What is claimed, and whether it holds here", heads, rows, (NOTE,))
    return Section("claims", "Claims", tables=(table,))
