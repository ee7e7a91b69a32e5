"""Which calibration data should this model be pruned with? From a question to the pruned model.

| module | what |
|---|---|
| `question` | the question: sources, capabilities with their weights and texts, sizes |
| `choose` | the stages in turn, in a folder |
| `job`, `answer` | what the stages share; what each found, on the disk |
| `gate`, `trials` | do sources differ more than draws do? the trials behind that and behind the verdict |
| `transfer`, `mixture`, `search` | added sums, and what a mixture costs by them; shares by exponentiated gradient |
| `verdict` | candidates by KL at growing budgets, the verdict on fresh text, the pruned model |
| `page` | the page |
"""
