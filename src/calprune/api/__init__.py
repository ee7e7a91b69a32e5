"""The public functions: `calprune.prune(model, "c4", method="sparsegpt", pattern="2:4")`. They take text or objects.

| module | what |
|---|---|
| `arguments` | what can be given as text or as an object: models, data, methods, patterns, evaluations |
| `models` | `load` |
| `prune`, `collect` | prune a model; collect sums and prune from them again and again |
| `build` | build a calibration set |
| `evaluate` | judge a model |
| `study`, `choose` | run a study; choose calibration data |
| `pruned` | `recover`, `compensate`, `decompose`, `quantize` |
| `speed`, `archive`, `accelerate` | what a pruned model is worth where it runs |
"""
