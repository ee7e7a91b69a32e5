window.PAPERS = {
 "nodes": [
  {
   "id": "obs",
   "title": "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon",
   "short": "OBS",
   "by": "Hassibi, Stork, NIPS, 1992",
   "year": 1992,
   "kind": "weight update",
   "link": "",
   "here": [
    "the method refit"
   ],
   "claims": [
    {
     "says": "The best weights for Wanda's mask (refit) are better than the dense ones at 60 %",
     "measured": "0.1310 (gain of refit(start=wanda) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    }
   ]
  },
  {
   "id": "magnitude",
   "title": "Learning both Weights and Connections for Efficient Neural Networks",
   "short": "magnitude",
   "by": "Han, Pool, Tran, Dally, NeurIPS, 2015",
   "year": 2015,
   "kind": "score",
   "link": "https://arxiv.org/abs/1506.02626",
   "here": [
    "the method magnitude"
   ],
   "claims": []
  },
  {
   "id": "rounding",
   "title": "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
   "short": "rounding",
   "by": "Jacob and others, CVPR, 2018",
   "year": 2018,
   "kind": "quantisation",
   "link": "https://arxiv.org/abs/1712.05877",
   "here": [
    "the method round_to_nearest"
   ],
   "claims": []
  },
  {
   "id": "gptq",
   "title": "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
   "short": "GPTQ",
   "by": "Frantar, Ashkboos, Hoefler, Alistarh, ICLR, 2023",
   "year": 2023,
   "kind": "quantisation",
   "link": "https://arxiv.org/abs/2210.17323",
   "here": [
    "the method gptq"
   ],
   "claims": [
    {
     "says": "GPTQ is better than rounding at 4 bits, groups of 64",
     "measured": "0.03 [−0.02, 0.08] (gain of gptq(group_size=64) 16 sequences over round_to_nearest(group_size=64), nats a token)",
     "verdict": "undecided",
     "page": "results/gptq.html"
    },
    {
     "says": "More calibration text makes GPTQ better",
     "measured": "−0.027 [−0.042, −0.011] (gain of 64 sequences over 16 sequences, nats a token)",
     "verdict": "not held",
     "page": "results/gptq.html"
    },
    {
     "says": "GPTQ is better where the largest inputs are rounded first",
     "measured": "0.10 [0.04, 0.17] (gain of gptq(group_size=64, activation_order=static) over gptq(group_size=64) 16 sequences, nats a token)",
     "verdict": "held",
     "page": "results/gptq.html"
    },
    {
     "says": "GPTQ with the largest inputs first is better than rounding",
     "measured": "0.14 [0.11, 0.17] (gain of gptq(group_size=64, activation_order=static) over round_to_nearest(group_size=64), nats a token)",
     "verdict": "held",
     "page": "results/gptq.html"
    }
   ]
  },
  {
   "id": "sparsegpt",
   "title": "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
   "short": "SparseGPT",
   "by": "Frantar, Alistarh, ICML, 2023",
   "year": 2023,
   "kind": "weight update",
   "link": "https://arxiv.org/abs/2301.00774",
   "here": [
    "the method sparsegpt"
   ],
   "claims": [
    {
     "says": "With Wanda, one pass is as good as two, within 0.05 nats",
     "measured": "0.00 [−0.06, 0.05] (gain of sequential over pruned, mean of 2 settings, nats a token)",
     "verdict": "undecided",
     "page": "results/propagate.html"
    },
    {
     "says": "With SparseGPT, one pass is as good as two, within 0.05 nats",
     "measured": "0.00 [−0.07, 0.07] (gain of sequential over pruned, mean of 2 settings, nats a token)",
     "verdict": "undecided",
     "page": "results/propagate.html"
    },
    {
     "says": "With Wanda, the inputs of pruned linears are better than those of the dense model",
     "measured": "−0.01 [−0.07, 0.06] (gain of sequential over dense, mean of 2 settings, nats a token)",
     "verdict": "undecided",
     "page": "results/propagate.html"
    },
    {
     "says": "With SparseGPT, the inputs of pruned linears are better than those of the dense model",
     "measured": "0.11 [−0.06, 0.27] (gain of sequential over dense, mean of 2 settings, nats a token)",
     "verdict": "undecided",
     "page": "results/propagate.html"
    },
    {
     "says": "SparseGPT is better than Wanda at 60 %",
     "measured": "−0.17 [−0.27, −0.07] (gain of sparsegpt over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "SparseGPT is better than Wanda at 2:4",
     "measured": "0.2 [−0.1, 0.4] (gain of sparsegpt over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "Ten times the damping is better for SparseGPT at 60 %",
     "measured": "0.05 [0.00, 0.10] (gain of sparsegpt(damping=0.1) over sparsegpt, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "Ten times the damping is better for SparseGPT at 2:4",
     "measured": "0.1 [−0.1, 0.4] (gain of sparsegpt(damping=0.1) over sparsegpt, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "SparseGPT is better than Wanda at 60 % on the inputs of the blocks pruned so far, as the papers' code has them",
     "measured": "0.06 [−0.18, 0.30] (gain of sparsegpt over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "Inputs of the blocks pruned so far are better than dense ones at 60 % with SparseGPT",
     "measured": "0.20 [0.07, 0.33] (gain of pruned over dense, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "SparseGPT is better than Wanda at 60 %",
     "measured": "−0.13 [−0.16, −0.09] (gain of sparsegpt over wanda, nats a token)",
     "verdict": "not held",
     "page": "results/methods_half_billion.html"
    },
    {
     "says": "SparseGPT is better with 4,096 tokens than with 1,024",
     "measured": "0.1 [−0.2, 0.5] (gain of 16 sequences over 4 sequences, nats a token)",
     "verdict": "undecided",
     "page": "results/amounts_half_billion.html"
    },
    {
     "says": "SparseGPT is better with 16,384 tokens than with 4,096",
     "measured": "0.09 [0.02, 0.16] (gain of 64 sequences over 16 sequences, nats a token)",
     "verdict": "undecided",
     "page": "results/amounts_half_billion.html"
    },
    {
     "says": "SparseGPT is better than Wanda with 1,024 tokens",
     "measured": "−0.29 [−0.50, −0.07] (gain of sparsegpt over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/amounts_half_billion.html"
    },
    {
     "says": "SparseGPT is better than Wanda with 16,384 tokens",
     "measured": "−0.08 [−0.11, −0.06] (gain of sparsegpt over wanda, nats a token)",
     "verdict": "not held",
     "page": "results/amounts_half_billion.html"
    }
   ]
  },
  {
   "id": "wanda",
   "title": "A Simple and Effective Pruning Approach for Large Language Models",
   "short": "Wanda",
   "by": "Sun, Liu, Bair, Kolter, ICLR, 2024",
   "year": 2024,
   "kind": "score",
   "link": "https://arxiv.org/abs/2306.11695",
   "here": [
    "the method wanda",
    "the method wanda_variant"
   ],
   "claims": [
    {
     "says": "Wanda is better than magnitude at 60 %",
     "measured": "2.52 [2.37, 2.66] (gain of wanda over magnitude, nats a token)",
     "verdict": "held",
     "page": "results/methods.html"
    },
    {
     "says": "Wanda is better than magnitude at 2:4",
     "measured": "1.63 [1.47, 1.79] (gain of wanda over magnitude, nats a token)",
     "verdict": "held",
     "page": "results/methods.html"
    },
    {
     "says": "Inputs of the blocks pruned so far are better than dense ones at 60 % with Wanda",
     "measured": "−0.02 [−0.22, 0.18] (gain of pruned over dense, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "4:8 costs less than 2:4, with Wanda",
     "measured": "0.35 [0.32, 0.38] (gain of 4:8 over 2:4, nats a token)",
     "verdict": "held",
     "page": "results/methods_half_billion.html"
    },
    {
     "says": "Wanda is better with 4,096 tokens than with 1,024",
     "measured": "0.02 [−0.04, 0.09] (gain of 16 sequences over 4 sequences, nats a token)",
     "verdict": "undecided",
     "page": "results/amounts_half_billion.html"
    },
    {
     "says": "Wanda is better with 16,384 tokens than with 4,096",
     "measured": "0.00 [−0.02, 0.03] (gain of 64 sequences over 16 sequences, nats a token)",
     "verdict": "undecided",
     "page": "results/amounts_half_billion.html"
    }
   ]
  },
  {
   "id": "gblm",
   "title": "Beyond Size: How Gradients Shape Pruning Decisions in Large Language Models",
   "short": "GBLM",
   "by": "Das, Sun, Ma, Shen, 2023",
   "year": 2023,
   "kind": "score",
   "link": "https://arxiv.org/abs/2311.04902",
   "here": [
    "the method gblm"
   ],
   "claims": [
    {
     "says": "GBLM is better than Wanda at 60 %",
     "measured": "−0.018 [−0.027, −0.009] (gain of gblm over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "GBLM is better than Wanda at 2:4",
     "measured": "−0.02 [−0.07, 0.04] (gain of gblm over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    }
   ]
  },
  {
   "id": "dsnot",
   "title": "Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse LLMs",
   "short": "DSnoT",
   "by": "Zhang, Zhao, Lin, Sun, Yao, Han, Tanner, Liu, Ji, ICLR, 2024",
   "year": 2024,
   "kind": "mask refinement",
   "link": "https://arxiv.org/abs/2310.08915",
   "here": [
    "the method dsnot"
   ],
   "claims": [
    {
     "says": "DSnoT as released, by its rule and on attention's linears, is better than the mask it starts from (Wanda's) at 2:4",
     "measured": "−0.13 [−0.20, −0.05] (gain of dsnot(start=wanda, linears=attention, rule=released) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/dsnot.html"
    },
    {
     "says": "DSnoT by this project's rule, on attention's linears, is better than the mask it starts from (Wanda's) at 2:4",
     "measured": "−0.02 [−0.17, 0.13] (gain of dsnot(start=wanda, linears=attention) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/dsnot.html"
    },
    {
     "says": "DSnoT by this project's rule, on all linears, is better than the mask it starts from (Wanda's) at 2:4",
     "measured": "−0.18 [−0.36, 0.00] (gain of dsnot(start=wanda) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/dsnot.html"
    },
    {
     "says": "DSnoT as released, by its rule and on attention's linears, is better than the mask it starts from (Wanda's) at 60 %",
     "measured": "−0.19 [−0.42, 0.04] (gain of dsnot(start=wanda, linears=attention, rule=released) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/dsnot.html"
    },
    {
     "says": "DSnoT by this project's rule, on attention's linears, is better than the mask it starts from (Wanda's) at 60 %",
     "measured": "−0.04 [−0.11, 0.03] (gain of dsnot(start=wanda, linears=attention) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/dsnot.html"
    },
    {
     "says": "DSnoT by this project's rule, on all linears, is better than the mask it starts from (Wanda's) at 60 %",
     "measured": "−0.11 [−0.19, −0.02] (gain of dsnot(start=wanda) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/dsnot.html"
    },
    {
     "says": "DSnoT is better than the mask it starts from (Wanda's) at 2:4",
     "measured": "−0.18 [−0.36, 0.00] (gain of dsnot(start=wanda) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "DSnoT, by the released rule on attention's linears, is better than Wanda at 60 %",
     "measured": "−0.16 [−0.20, −0.11] (gain of dsnot(start=wanda, linears=attention, rule=released) over wanda, nats a token)",
     "verdict": "not held",
     "page": "results/methods_half_billion.html"
    },
    {
     "says": "DSnoT, by the released rule on attention's linears, is better than Wanda at 2:4",
     "measured": "0.044 [0.026, 0.063] (gain of dsnot(start=wanda, linears=attention, rule=released) over wanda, nats a token)",
     "verdict": "held",
     "page": "results/methods_half_billion.html"
    }
   ]
  },
  {
   "id": "owl",
   "title": "Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs to High Sparsity",
   "short": "OWL",
   "by": "Yin, Wu, Zhang, Hsieh, Wang, Jia, Li, Jaiswal, Pechenizkiy, Liang, Bendersky, Wang, Liu, ICML, 2024",
   "year": 2024,
   "kind": "allocation",
   "link": "https://arxiv.org/abs/2310.05175",
   "here": [
    "the method owl"
   ],
   "claims": [
    {
     "says": "OWL is better than uniform at 70 % with Wanda",
     "measured": "0.01 [−0.10, 0.12] (gain of owl over uniform, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "OWL is better than uniform at 70 % with SparseGPT",
     "measured": "−0.1 [−0.5, 0.4] (gain of owl over uniform, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "OWL's shares of zeros are better than the same everywhere at 60 %",
     "measured": "−0.008 [−0.022, 0.005] (gain of owl over uniform, nats a token)",
     "verdict": "not held",
     "page": "results/methods_half_billion.html"
    }
   ]
  },
  {
   "id": "ria",
   "title": "Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models",
   "short": "RIA",
   "by": "Zhang, Bai, Lin, Zhao, Hou, Cannistraci, ICLR, 2024",
   "year": 2024,
   "kind": "score",
   "link": "https://openreview.net/forum?id=Tr0lPx9woF",
   "here": [
    "the method ria",
    "the order of channels for n:m (`--permute`)"
   ],
   "claims": [
    {
     "says": "RIA is better than Wanda at 60 %",
     "measured": "−0.16 [−0.25, −0.06] (gain of ria over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "RIA is better than Wanda at 2:4",
     "measured": "0.02 [−0.12, 0.16] (gain of ria over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "RIA is better than Wanda at 60 % on the inputs of the blocks pruned so far, as the papers' code has them",
     "measured": "−0.09 [−0.22, 0.03] (gain of ria over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "Inputs of the blocks pruned so far are better than dense ones at 60 % with RIA",
     "measured": "0.04 [0.01, 0.07] (gain of pruned over dense, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "RIA is better than Wanda at 60 %",
     "measured": "−0.195 [−0.213, −0.176] (gain of ria over wanda, nats a token)",
     "verdict": "not held",
     "page": "results/methods_half_billion.html"
    },
    {
     "says": "RIA is better than Wanda at 2:4",
     "measured": "0.021 [0.003, 0.038] (gain of ria over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods_half_billion.html"
    }
   ]
  },
  {
   "id": "admm",
   "title": "Fast and Effective Weight Update for Pruned Large Language Models",
   "short": "ADMM",
   "by": "Boža, TMLR, 2024",
   "year": 2024,
   "kind": "weight update",
   "link": "https://arxiv.org/abs/2401.02938",
   "here": [
    "the method admm"
   ],
   "claims": [
    {
     "says": "ADMM is better than SparseGPT at 2:4",
     "measured": "0.29 [0.04, 0.54] (gain of admm over sparsegpt, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    }
   ]
  },
  {
   "id": "alps",
   "title": "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for Large Language Models",
   "short": "ALPS",
   "by": "Meng, Behdin, Wang, Mazumder, NeurIPS, 2024",
   "year": 2024,
   "kind": "weight update",
   "link": "https://arxiv.org/abs/2406.07831",
   "here": [
    "the method alps"
   ],
   "claims": [
    {
     "says": "ALPS is better than SparseGPT at 2:4",
     "measured": "0.05301 (gain of alps over sparsegpt, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    }
   ]
  },
  {
   "id": "pruner_zero",
   "title": "Pruner-Zero: Evolving Symbolic Pruning Metric from Scratch for Large Language Models",
   "short": "Pruner-Zero",
   "by": "Dong, Li, Tang, Liu, Pan, Chu, ICML, 2024",
   "year": 2024,
   "kind": "score",
   "link": "https://arxiv.org/abs/2406.02924",
   "here": [
    "the method pruner_zero"
   ],
   "claims": [
    {
     "says": "Pruner-Zero is better than Wanda at 60 %",
     "measured": "−0.19 [−0.31, −0.06] (gain of pruner_zero over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "Pruner-Zero is better than Wanda at 2:4",
     "measured": "−0.04 [−0.08, 0.00] (gain of pruner_zero over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    }
   ]
  },
  {
   "id": "alpha",
   "title": "AlphaPruning: Using Heavy-Tailed Self Regularization Theory for Improved Layer-wise Pruning of Large Language Models",
   "short": "AlphaPruning",
   "by": "Lu, Zhou, Liu, Wang, Mahoney, Yang, NeurIPS, 2024",
   "year": 2024,
   "kind": "allocation",
   "link": "https://arxiv.org/abs/2410.10912",
   "here": [
    "the method alpha"
   ],
   "claims": [
    {
     "says": "AlphaPruning is better than uniform at 70 % with Wanda",
     "measured": "0.39 [0.32, 0.46] (gain of alpha(epsilon=0.2) over uniform, nats a token)",
     "verdict": "held",
     "page": "results/methods.html"
    },
    {
     "says": "AlphaPruning is better than uniform at 70 % with SparseGPT",
     "measured": "0.4 [−0.1, 0.8] (gain of alpha(epsilon=0.2) over uniform, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    }
   ]
  },
  {
   "id": "dlp",
   "title": "DLP: Dynamic Layerwise Pruning in Large Language Models",
   "short": "DLP",
   "by": "Chen, Cheng, Han, Zhang, Li, Zhang, ICML, 2025",
   "year": 2025,
   "kind": "allocation",
   "link": "https://arxiv.org/abs/2505.23807",
   "here": [
    "the method dlp"
   ],
   "claims": [
    {
     "says": "DLP is better than uniform at 70 % with Wanda",
     "measured": "0.60 [0.50, 0.70] (gain of dlp over uniform, nats a token)",
     "verdict": "held",
     "page": "results/methods.html"
    },
    {
     "says": "DLP is better than uniform at 70 % with SparseGPT",
     "measured": "0.45 [0.25, 0.65] (gain of dlp over uniform, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "DLP's shares of zeros are better than the same everywhere at 60 %",
     "measured": "−0.42 [−0.45, −0.39] (gain of dlp over uniform, nats a token)",
     "verdict": "not held",
     "page": "results/methods_half_billion.html"
    }
   ]
  },
  {
   "id": "block_matching",
   "title": "3BASiL: An Algorithmic Framework for Sparse plus Low-Rank Compression of LLMs",
   "short": "3BASiL",
   "by": "Makni, Meng, Mazumder, NeurIPS, 2025",
   "year": 2025,
   "kind": "reconstruction",
   "link": "https://arxiv.org/abs/2603.01376",
   "here": [
    "the method block_matching",
    "`calprune decompose`"
   ],
   "claims": []
  },
  {
   "id": "linear",
   "title": "Determining Layer-wise Sparsity for Large Language Models Through a Theoretical Perspective",
   "short": "Huang 2025",
   "by": "Huang, Zhang, Zheng, Chao, Ji, ICML, 2025",
   "year": 2025,
   "kind": "allocation",
   "link": "https://arxiv.org/abs/2502.14770",
   "here": [
    "the method linear"
   ],
   "claims": []
  },
  {
   "id": "wanda_plus_plus",
   "title": "Wanda++: Pruning Large Language Models via Regional Gradients",
   "short": "Wanda++",
   "by": "Yang, Zhen, Ganesh, Galstyan and others, Findings of ACL, 2025",
   "year": 2025,
   "kind": "score",
   "link": "https://arxiv.org/abs/2503.04992",
   "here": [
    "the method wanda_plus_plus",
    "the method regional"
   ],
   "claims": [
    {
     "says": "Wanda++'s regional gradients are better than Wanda at 60 %",
     "measured": "−0.27 [−0.48, −0.05] (gain of wanda_plus_plus over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "Wanda++'s regional gradients are better than Wanda at 2:4",
     "measured": "−0.01 [−0.18, 0.15] (gain of wanda_plus_plus over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "Wanda++'s regional gradients with a quarter of the alpha are better than Wanda at 60 %",
     "measured": "−0.12 [−0.19, −0.05] (gain of wanda_plus_plus(alpha=25) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "Wanda++'s regional gradients with a quarter of the alpha are better than Wanda at 2:4",
     "measured": "0.03 [−0.03, 0.08] (gain of wanda_plus_plus(alpha=25) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "Wanda++'s regional optimisation is better than its score alone at 60 %",
     "measured": "0.000485 (gain of regional(start=wanda_plus_plus, rounds=1) over wanda_plus_plus, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    }
   ]
  },
  {
   "id": "sparseswaps",
   "title": "SparseSwaps: Tractable LLM Pruning Mask Refinement at Scale",
   "short": "SparseSwaps",
   "by": "Zimmer, Roux, Wagner, Hendrych, Pokutta, 2025",
   "year": 2025,
   "kind": "mask refinement",
   "link": "https://arxiv.org/abs/2512.10922",
   "here": [
    "the method sparseswaps"
   ],
   "claims": [
    {
     "says": "SparseSwaps is better than the mask it starts from (Wanda's) at 60 %",
     "measured": "0.03875 (gain of sparseswaps(start=wanda, swaps=20) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    }
   ]
  },
  {
   "id": "rose",
   "title": "ROSE: Reordered SparseGPT for More Accurate One-Shot Large Language Models Pruning",
   "short": "ROSE",
   "by": "Su, Wang, CPAL, 2026",
   "year": 2026,
   "kind": "weight update",
   "link": "https://arxiv.org/abs/2603.05878",
   "here": [
    "the method rose"
   ],
   "claims": [
    {
     "says": "ROSE is better than SparseGPT at 60 %",
     "measured": "−0.02 [−0.06, 0.02] (gain of rose over sparsegpt, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    },
    {
     "says": "ROSE is better than SparseGPT at 2:4",
     "measured": "0.07 [−0.01, 0.15] (gain of rose over sparsegpt, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    }
   ]
  },
  {
   "id": "shin2024",
   "title": "Rethinking Pruning Large Language Models: Benefits and Pitfalls of Reconstruction Error Minimization",
   "short": "Shin 2024",
   "by": "Shin, Park, Lee, Lee, EMNLP, 2024",
   "year": 2024,
   "kind": "reconstruction",
   "link": "https://arxiv.org/abs/2406.15524",
   "here": [
    "the method block_reconstruction"
   ],
   "claims": [
    {
     "says": "Reconstructing a block after the other lowers perplexity on text like the calibration data",
     "measured": "0.06 [0.03, 0.09] (gain of block_reconstruction(start=sparsegpt, epochs=2) over sparsegpt, nats a token)",
     "verdict": "held",
     "page": "results/shin2024.html"
    },
    {
     "says": "So does it on WikiText-2",
     "measured": "0.03 [−0.01, 0.07] (gain of block_reconstruction(start=sparsegpt, epochs=2) over sparsegpt, nats a token)",
     "verdict": "undecided",
     "page": "results/shin2024.html"
    },
    {
     "says": "The dense model's targets (global propagation) lower it further",
     "measured": "0.13 [0.05, 0.21] (gain of block_reconstruction(start=sparsegpt, epochs=2, global_propagation=True) over block_reconstruction(start=sparsegpt, epochs=2), nats a token)",
     "verdict": "undecided",
     "page": "results/shin2024.html"
    },
    {
     "says": "Reconstruction across blocks lowers it further still",
     "measured": "0.11 [0.07, 0.14] (gain of block_reconstruction(start=sparsegpt, epochs=2, global_propagation=True, cross_block=True) over block_reconstruction(start=sparsegpt, epochs=2, global_propagation=True), nats a token)",
     "verdict": "held",
     "page": "results/shin2024.html"
    },
    {
     "says": "What fits the calibration data best may do harm elsewhere (here, GSM8K's text is worse than without reconstruction)",
     "measured": "−0.23 [−0.33, −0.12] (gain of sparsegpt over block_reconstruction(start=sparsegpt, epochs=2, global_propagation=True, cross_block=True), nats a token)",
     "verdict": "not held",
     "page": "results/shin2024.html"
    },
    {
     "says": "Training on self-written text too mends that (against as much of the same real text)",
     "measured": "−0.04 [−0.19, 0.10] (gain of c4, trained on c4 and self over c4, trained on twice as much, nats a token)",
     "verdict": "undecided",
     "page": "results/shin2024.html"
    },
    {
     "says": "What fits the calibration data best may do harm in tasks",
     "measured": "",
     "verdict": "not measured",
     "page": "results/shin2024.html"
    },
    {
     "says": "Reconstructing a block after the other lowers perplexity on text like the calibration data (here, KL by more than 0.02 nats)",
     "measured": "0.14 [0.12, 0.17] (gain of block_reconstruction(start=sparsegpt, epochs=1) over sparsegpt, nats a token)",
     "verdict": "held",
     "page": "results/shin2024_half_billion.html"
    },
    {
     "says": "So does it on WikiText-2",
     "measured": "0.15 [0.11, 0.18] (gain of block_reconstruction(start=sparsegpt, epochs=1) over sparsegpt, nats a token)",
     "verdict": "held",
     "page": "results/shin2024_half_billion.html"
    },
    {
     "says": "The dense model's targets (global propagation) lower it further",
     "measured": "0.021 [0.006, 0.036] (gain of block_reconstruction(start=sparsegpt, epochs=1, global_propagation=True) over block_reconstruction(start=sparsegpt, epochs=1), nats a token)",
     "verdict": "undecided",
     "page": "results/shin2024_half_billion.html"
    },
    {
     "says": "What fits the calibration data best may do harm elsewhere (here, GSM8K's text is worse than without reconstruction)",
     "measured": "−0.078 [−0.098, −0.058] (gain of sparsegpt over block_reconstruction(start=sparsegpt, epochs=1, global_propagation=True), nats a token)",
     "verdict": "not held",
     "page": "results/shin2024_half_billion.html"
    },
    {
     "says": "What fits the calibration data best may do harm in tasks",
     "measured": "",
     "verdict": "not measured",
     "page": "results/shin2024_half_billion.html"
    },
    {
     "says": "Reconstruction after Wanda gains on text like the calibration data",
     "measured": "0.05 [−0.01, 0.12] (gain of block_reconstruction(start=wanda, epochs=1) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/reconstruction_half_billion.html"
    },
    {
     "says": "So does it on WikiText-2",
     "measured": "0.03 [−0.06, 0.12] (gain of block_reconstruction(start=wanda, epochs=1) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/reconstruction_half_billion.html"
    },
    {
     "says": "It does harm elsewhere (here, GSM8K's text is worse than without it)",
     "measured": "−0.01 [−0.09, 0.06] (gain of wanda over block_reconstruction(start=wanda, epochs=1), nats a token)",
     "verdict": "undecided",
     "page": "results/reconstruction_half_billion.html"
    },
    {
     "says": "Reconstructing blocks is better than the mask it starts from (Wanda's) at 60 %",
     "measured": "0.005624 (gain of block_reconstruction(start=wanda, epochs=2) over wanda, nats a token)",
     "verdict": "undecided",
     "page": "results/methods.html"
    }
   ]
  },
  {
   "id": "free_lunch",
   "title": "A Free Lunch in LLM Compression: Revisiting Retraining after Pruning",
   "short": "A Free Lunch",
   "by": "Wagner, Roux, Zimmer, Pokutta, 2025",
   "year": 2025,
   "kind": "reconstruction",
   "link": "https://arxiv.org/abs/2510.14444",
   "here": [
    "`block_reconstruction(windows=sub_block)`: attention and feed-forward apart"
   ],
   "claims": []
  },
  {
   "id": "bandari2024",
   "title": "Is C4 Dataset Optimal for Pruning?",
   "short": "Bandari 2024",
   "by": "Bandari and others, EMNLP, 2024",
   "year": 2024,
   "kind": "choice of data",
   "link": "https://arxiv.org/abs/2410.07461",
   "here": [
    "its sources, prompts, quirks and exact match"
   ],
   "claims": [
    {
     "says": "C4 is not the best of the pre-training sources",
     "measured": "0.02 [−0.03, 0.03] (gain of c4 over pile (the best of the others), nats a token)",
     "verdict": "undecided",
     "page": "results/bandari2024.html"
    },
    {
     "says": "Questions of arithmetic with their answers serve as well as pre-training text (here, within 0.01 nats a token)",
     "measured": "−0.059 [−0.078, −0.039] (gain of gsm8k:icl, svamp:icl and mawps:icl over c4, oscar, redpajama and pile, nats a token)",
     "verdict": "not held",
     "page": "results/bandari2024.html"
    },
    {
     "says": "Examples in context are better than a single one, as the paper's code builds and counts them",
     "measured": "0.56 [0.49, 0.63] (gain of gsm8k:icl, as published over gsm8k:single, as published, nats a token)",
     "verdict": "held",
     "page": "results/bandari2024.html"
    },
    {
     "says": "Examples in context are better than a single one, padding left out",
     "measured": "−0.011 [−0.022, 0.000] (gain of gsm8k:icl over gsm8k:single, nats a token)",
     "verdict": "undecided",
     "page": "results/bandari2024.html"
    },
    {
     "says": "Examples in context are better than a question alone, as the paper's code builds and counts them (e-SNLI)",
     "measured": "0.52 [0.47, 0.58] (gain of esnli:icl, as published over esnli:zero, as published, nats a token)",
     "verdict": "held",
     "page": "results/bandari2024.html"
    },
    {
     "says": "Examples in context are better than a question alone, padding left out (e-SNLI)",
     "measured": "0.007 [−0.015, 0.029] (gain of esnli:icl over esnli:zero, nats a token)",
     "verdict": "undecided",
     "page": "results/bandari2024.html"
    },
    {
     "says": "The quirks of the paper's code, padding counted above all, do harm where a sequence is one pair",
     "measured": "0.56 [0.46, 0.66] (gain of gsm8k:single over gsm8k:single, as published, nats a token)",
     "verdict": "held",
     "page": "results/bandari2024.html"
    },
    {
     "says": "They do little where a sequence is full (here, less than 0.05 nats a token)",
     "measured": "−0.01 [−0.06, 0.05] (gain of gsm8k:icl over gsm8k:icl, as published, nats a token)",
     "verdict": "undecided",
     "page": "results/bandari2024.html"
    },
    {
     "says": "More real tokens in a sequence are better, the rest padding that counts",
     "measured": "0.59 [0.55, 0.64] (gain of c4 over c4 64 tokens, padding counted, nats a token)",
     "verdict": "held",
     "page": "results/bandari2024.html"
    },
    {
     "says": "More real tokens in a sequence are better, padding left out",
     "measured": "0.02 [0.00, 0.05] (gain of c4 over c4 64 tokens, nats a token)",
     "verdict": "undecided",
     "page": "results/bandari2024.html"
    },
    {
     "says": "More pairs in context are better (25 against 5)",
     "measured": "0.009 [−0.010, 0.029] (gain of gsm8k:icl(pairs=25) over gsm8k:icl(pairs=5), nats a token)",
     "verdict": "undecided",
     "page": "results/bandari2024.html"
    },
    {
     "says": "More data are better (64 sequences of the Pile against 16)",
     "measured": "0.046 [0.027, 0.066] (gain of 64 sequences over 16 sequences, nats a token)",
     "verdict": "undecided",
     "page": "results/bandari2024.html"
    },
    {
     "says": "More steps of reasoning are better (5 against 3)",
     "measured": "0.01 [−0.04, 0.05] (gain of gsm8k:cot(steps=5) over gsm8k:cot(steps=3), nats a token)",
     "verdict": "undecided",
     "page": "results/bandari2024.html"
    },
    {
     "says": "A mixture of C4 and GSM8K is better than C4",
     "measured": "−0.03 [−0.07, 0.02] (gain of c4 + gsm8k over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/bandari2024.html"
    },
    {
     "says": "A task's own data do not always help that task",
     "measured": "",
     "verdict": "not measured",
     "page": "results/bandari2024.html"
    },
    {
     "says": "Chain of thought helps on some tasks only",
     "measured": "",
     "verdict": "not measured",
     "page": "results/bandari2024.html"
    },
    {
     "says": "Padding that is counted does harm, though no token attends to it (e-SNLI)",
     "measured": "0.53 [0.50, 0.56] (gain of esnli:single over esnli:single, padding counted and masked, nats a token)",
     "verdict": "held",
     "page": "results/padding.html"
    },
    {
     "says": "Padding that is counted and attended to does harm (e-SNLI, which the released code does not do)",
     "measured": "1.02 [0.93, 1.10] (gain of esnli:single over esnli:single, padding counted and attended, nats a token)",
     "verdict": "held",
     "page": "results/padding.html"
    },
    {
     "says": "Padding that is counted and attended to does harm (GSM8K, as released)",
     "measured": "0.48 [0.41, 0.55] (gain of gsm8k:single over gsm8k:single, padding counted and attended, nats a token)",
     "verdict": "held",
     "page": "results/padding.html"
    },
    {
     "says": "Masking the padding that is counted takes harm away (the two sources together)",
     "measured": "0.33 [0.29, 0.38] (gain of esnli:single, padding counted and masked and gsm8k:single, padding counted and masked over esnli:single, padding counted and attended and gsm8k:single, padding counted and attended, nats a token)",
     "verdict": "held",
     "page": "results/padding.html"
    },
    {
     "says": "C4 is not the best of the pre-training sources",
     "measured": "0.011 [0.005, 0.016] (gain of c4 over pile (the best of the others), nats a token)",
     "verdict": "not held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "Questions of arithmetic with their answers serve as well as pre-training text (here, within 0.02 nats a token)",
     "measured": "−0.14 [−0.21, −0.06] (gain of gsm8k:icl and mawps:icl over c4 and pile, nats a token)",
     "verdict": "not held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "It is no matter where sequences of examples begin (here, by less than 0.02 nats; the model has no begin-of-text)",
     "measured": "0.007 [0.001, 0.013] (gain of gsm8k:icl, from anywhere over gsm8k:icl, nats a token)",
     "verdict": "held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "Examples in context are better than a single one, as the paper's code builds and counts them",
     "measured": "0.39 [0.36, 0.42] (gain of gsm8k:icl, as published over gsm8k:single, as published, nats a token)",
     "verdict": "held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "Examples in context are better than a single one, padding left out",
     "measured": "−0.013 [−0.029, 0.002] (gain of gsm8k:icl over gsm8k:single, nats a token)",
     "verdict": "not held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "Examples in context are better than a question alone, as the paper's code builds and counts them (e-SNLI)",
     "measured": "0.63 [0.55, 0.72] (gain of esnli:icl, as published over esnli:zero, as published, nats a token)",
     "verdict": "held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "Examples in context are better than a question alone, padding left out (e-SNLI)",
     "measured": "−0.007 [−0.015, 0.002] (gain of esnli:icl over esnli:zero, nats a token)",
     "verdict": "not held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "The quirks of the paper's code, padding counted above all, do harm where a sequence is one pair",
     "measured": "0.40 [0.37, 0.43] (gain of gsm8k:single over gsm8k:single, as published, nats a token)",
     "verdict": "held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "They do little where a sequence is full (here, less than 0.05 nats a token)",
     "measured": "−0.007 [−0.017, 0.003] (gain of gsm8k:icl over gsm8k:icl, as published, nats a token)",
     "verdict": "held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "More real tokens in a sequence are better, the rest padding that counts",
     "measured": "0.42 [0.39, 0.45] (gain of c4 over c4 64 tokens, padding counted, nats a token)",
     "verdict": "held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "More real tokens in a sequence are better, padding left out",
     "measured": "−0.007 [−0.014, 0.000] (gain of c4 over c4 64 tokens, nats a token)",
     "verdict": "not held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "More pairs in context are better (25 against 5)",
     "measured": "−0.13 [−0.27, 0.00] (gain of gsm8k:icl(pairs=25) over gsm8k:icl(pairs=5), nats a token)",
     "verdict": "not held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "More data are better (128 sequences of the Pile against 32)",
     "measured": "0.003 [−0.005, 0.012] (gain of 128 sequences over 32 sequences, nats a token)",
     "verdict": "not held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "A mixture of C4 and GSM8K is better than C4",
     "measured": "−0.020 [−0.027, −0.012] (gain of c4 + gsm8k over c4, nats a token)",
     "verdict": "not held",
     "page": "results/bandari2024_half_billion.html"
    },
    {
     "says": "GSM8K's own text serves it better than C4",
     "measured": "−0.1 [−0.4, 0.2] (gain of gsm8k over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "SVAMP's own text serves it better than C4",
     "measured": "−0.3 [−0.9, 0.3] (gain of svamp over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "MAWPS's own text serves it better than C4",
     "measured": "−0.1 [−0.4, 0.3] (gain of mawps over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "e-SNLI's own text serves it better than C4",
     "measured": "0.032 [0.012, 0.051] (gain of esnli over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "ANLI R1's own text serves it better than C4",
     "measured": "0.02 [−0.06, 0.10] (gain of anli_r1 over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "ANLI R3's own text serves it better than C4",
     "measured": "0.006 [−0.017, 0.028] (gain of anli_r3 over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "CommonsenseQA's own text serves it better than C4",
     "measured": "0.00 [−0.08, 0.07] (gain of commonsense_qa over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "RACE's own text serves it better than C4",
     "measured": "0.013 [0.001, 0.025] (gain of race over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "WinoGrande's own text serves it better than C4",
     "measured": "0.07 [−0.05, 0.19] (gain of winogrande over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "GSM8K's own text with as much of C4 serves it better than its own alone",
     "measured": "0.1 [−0.2, 0.4] (gain of c4 + gsm8k over gsm8k, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "SVAMP's own text with as much of C4 serves it better than its own alone",
     "measured": "0.3 [−0.3, 1.0] (gain of c4 + svamp over svamp, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "MAWPS's own text with as much of C4 serves it better than its own alone",
     "measured": "0.1 [−0.2, 0.5] (gain of c4 + mawps over mawps, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "GSM8K's own text with as much of C4 serves it better than C4",
     "measured": "0.02 [−0.01, 0.05] (gain of c4 + gsm8k over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "SVAMP's own text with as much of C4 serves it better than C4",
     "measured": "0.00 [−0.06, 0.07] (gain of c4 + svamp over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "MAWPS's own text with as much of C4 serves it better than C4",
     "measured": "0.047 [0.024, 0.069] (gain of c4 + mawps over c4, nats a token)",
     "verdict": "held",
     "page": "results/own_text_half_billion.html"
    },
    {
     "says": "GSM8K's own text serves it better than C4",
     "measured": "0.012 [−0.006, 0.031] (gain of gsm8k over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_after_begin.html"
    },
    {
     "says": "SVAMP's own text serves it better than C4",
     "measured": "0.046 [0.029, 0.064] (gain of svamp over c4, nats a token)",
     "verdict": "held",
     "page": "results/own_text_after_begin.html"
    },
    {
     "says": "MAWPS's own text serves it better than C4",
     "measured": "0.040 [0.027, 0.054] (gain of mawps over c4, nats a token)",
     "verdict": "held",
     "page": "results/own_text_after_begin.html"
    },
    {
     "says": "e-SNLI's own text serves it better than C4",
     "measured": "0.038 [0.021, 0.054] (gain of esnli over c4, nats a token)",
     "verdict": "held",
     "page": "results/own_text_after_begin.html"
    },
    {
     "says": "RACE's own text serves it better than C4",
     "measured": "0.007 [−0.004, 0.019] (gain of race over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_after_begin.html"
    },
    {
     "says": "WinoGrande's own text serves it better than C4",
     "measured": "0.05 [0.01, 0.08] (gain of winogrande over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/own_text_after_begin.html"
    },
    {
     "says": "After the first token of a conversation text loses less where an eighth of C4 is conversations (half a billion)",
     "measured": "0.01 [−0.02, 0.04] (gain of c4, an eighth conversations over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/first_words.html"
    },
    {
     "says": "And they cost plain text nothing (less than 0.02 nats; half a billion)",
     "measured": "0.00 [−0.02, 0.03] (gain of c4, an eighth conversations over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/first_words.html"
    },
    {
     "says": "After the first token of a conversation text loses less where an eighth of C4 is conversations (135 million)",
     "measured": "0.00 [−0.05, 0.05] (gain of c4, an eighth conversations over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/first_words.html"
    },
    {
     "says": "And they cost plain text nothing (less than 0.02 nats; 135 million)",
     "measured": "0.01 [−0.05, 0.06] (gain of c4, an eighth conversations over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/first_words.html"
    },
    {
     "says": "Examples from anywhere serve plain text better than examples that all begin with one word (half a billion)",
     "measured": "0.004 [−0.008, 0.016] (gain of gsm8k, from anywhere over gsm8k, each begins with Question, nats a token)",
     "verdict": "undecided",
     "page": "results/first_words.html"
    },
    {
     "says": "Blocks that C4 chooses cost less on general text than those that GSM8K chooses",
     "measured": "0.47 [0.22, 0.72] (gain of c4 over gsm8k, nats a token)",
     "verdict": "held",
     "page": "results/one_and_a_half_billion.html"
    },
    {
     "says": "Neurons that code chooses cost less on code than those that C4 chooses",
     "measured": "0.8 [0.5, 1.2] (gain of code over c4, nats a token)",
     "verdict": "held",
     "page": "results/one_and_a_half_billion.html"
    },
    {
     "says": "Neurons that C4 chooses cost less on general text than those that code chooses",
     "measured": "0.58 [0.35, 0.80] (gain of c4 over code, nats a token)",
     "verdict": "held",
     "page": "results/one_and_a_half_billion.html"
    },
    {
     "says": "Padding that counts, as the released code counts it, does harm (e-SNLI)",
     "measured": "0.23 [0.15, 0.32] (gain of esnli:zero over esnli:zero, as published, nats a token)",
     "verdict": "held",
     "page": "results/one_and_a_half_billion.html"
    },
    {
     "says": "C4 and The Pile are better than GSM8K's examples at 50 % with Wanda",
     "measured": "0.071 [0.053, 0.088] (gain of c4 and pile over gsm8k:icl, nats a token)",
     "verdict": "held",
     "page": "results/finalists_half_billion.html"
    },
    {
     "says": "C4 and The Pile are better than GSM8K's examples at 50 % with SparseGPT",
     "measured": "0.20 [0.13, 0.27] (gain of c4 and pile over gsm8k:icl, nats a token)",
     "verdict": "held",
     "page": "results/finalists_half_billion.html"
    },
    {
     "says": "C4 and The Pile are better than GSM8K's examples at 2:4 with Wanda",
     "measured": "0.03 [0.01, 0.06] (gain of c4 and pile over gsm8k:icl, nats a token)",
     "verdict": "undecided",
     "page": "results/finalists_half_billion.html"
    },
    {
     "says": "C4 and The Pile are better than GSM8K's examples at 2:4 with SparseGPT",
     "measured": "0.38 [0.33, 0.43] (gain of c4 and pile over gsm8k:icl, nats a token)",
     "verdict": "held",
     "page": "results/finalists_half_billion.html"
    },
    {
     "says": "The source matters more with SparseGPT than with Wanda at 50 %",
     "measured": "0.065 [0.045, 0.085] (the SD between sources, sparsegpt minus wanda, nats a token; c4, pile and gsm8k:icl, 3 draws each)",
     "verdict": "held",
     "page": "results/finalists_half_billion.html"
    },
    {
     "says": "The source matters more with SparseGPT than with Wanda at 2:4",
     "measured": "0.17 [0.14, 0.19] (the SD between sources, sparsegpt minus wanda, nats a token; c4, pile and gsm8k:icl, 3 draws each)",
     "verdict": "held",
     "page": "results/finalists_half_billion.html"
    },
    {
     "says": "GSM8K with its steps is better than without them for worked solutions",
     "measured": "0.019 [0.010, 0.028] (gain of gsm8k:icl_cot over gsm8k:icl, nats a token)",
     "verdict": "undecided",
     "page": "results/steps_half_billion.html"
    },
    {
     "says": "GSM8K with its steps is better than without them for general text",
     "measured": "−0.010 [−0.021, 0.000] (gain of gsm8k:icl_cot over gsm8k:icl, nats a token)",
     "verdict": "not held",
     "page": "results/steps_half_billion.html"
    },
    {
     "says": "e-SNLI with its explanations is better than without them for explanations",
     "measured": "0.009 [0.002, 0.016] (gain of esnli:icl_cot over esnli:icl, nats a token)",
     "verdict": "not held",
     "page": "results/steps_half_billion.html"
    },
    {
     "says": "e-SNLI with its explanations is better than without them for general text",
     "measured": "0.003 [−0.008, 0.014] (gain of esnli:icl_cot over esnli:icl, nats a token)",
     "verdict": "not held",
     "page": "results/steps_half_billion.html"
    }
   ]
  },
  {
   "id": "ji2025",
   "title": "Beware of Calibration Data for Pruning LLMs",
   "short": "Ji 2025",
   "by": "Ji and others, ICLR, 2025",
   "year": 2025,
   "kind": "choice of data",
   "link": "https://arxiv.org/abs/2410.17711",
   "here": [
    "text that a model writes from the beginnings of real text (`self:prefixes`)"
   ],
   "claims": [
    {
     "says": "The more alike the source is to the training data, the better (DCLM, C4, SlimPajama, Wikipedia in this order)",
     "measured": "",
     "verdict": "undecided",
     "page": "results/ji2025.html"
    },
    {
     "says": "C4 is better than Wikipedia at 60 %",
     "measured": "0.04 [−0.07, 0.16] (gain of c4 over wikipedia, nats a token)",
     "verdict": "undecided",
     "page": "results/ji2025.html"
    },
    {
     "says": "A source's 3-grams in common with the training data foretell the result",
     "measured": "",
     "verdict": "not measured",
     "page": "results/ji2025.html"
    },
    {
     "says": "The source matters more at a higher sparsity (70 % than 60 %)",
     "measured": "−0.02 [−0.06, 0.04] (the SD between sources, 70% minus 60%, nats a token; c4, wikipedia, redpajama and dclm, 5 draws each)",
     "verdict": "undecided",
     "page": "results/ji2025.html"
    },
    {
     "says": "The source matters more at a higher sparsity (70 % than 50 %)",
     "measured": "0.00 [−0.02, 0.08] (the SD between sources, 70% minus 50%, nats a token; c4 and wikipedia, 5 draws each)",
     "verdict": "undecided",
     "page": "results/ji2025.html"
    },
    {
     "says": "The source matters more for 2:4 than for 50 % without structure",
     "measured": "0.01 [−0.01, 0.12] (the SD between sources, 2:4 minus 50%, nats a token; c4 and wikipedia, 5 draws each)",
     "verdict": "undecided",
     "page": "results/ji2025.html"
    },
    {
     "says": "Where pruning is easy the source makes no difference (here, at 50 %, an SD under 0.01 nats a token)",
     "measured": "0.000 [0.000, 0.020] (the SD between sources, nats a token; c4 and wikipedia, 5 draws each)",
     "verdict": "undecided",
     "page": "results/ji2025.html"
    },
    {
     "says": "More data makes draws differ less",
     "measured": "0.5 [0.3, 0.9] (factor of the SD of a draw when the data doubles, 16 and 64 sequences; c4)",
     "verdict": "undecided",
     "page": "results/ji2025.html"
    },
    {
     "says": "More than 128 sequences of 2,048 tokens make the mean no better",
     "measured": "",
     "verdict": "not measured",
     "page": "results/ji2025.html"
    },
    {
     "says": "Text that the model wrote itself is better than the real text that its beginnings are of",
     "measured": "−0.02 [−0.08, 0.04] (gain of self from c4 and self from wikipedia over c4 and wikipedia, nats a token)",
     "verdict": "undecided",
     "page": "results/ji2025.html"
    },
    {
     "says": "It is better than the training data themselves",
     "measured": "",
     "verdict": "undecided",
     "page": "results/ji2025.html"
    },
    {
     "says": "C4 is better than SlimPajama, and that than Wikipedia, as they are like DCLM in this order",
     "measured": "0.03 [−0.20, 0.27] (gain of redpajama over wikipedia (the smallest step), nats a token)",
     "verdict": "undecided",
     "page": "results/ji2025_half_billion.html"
    },
    {
     "says": "C4 is better than Wikipedia at 60 %",
     "measured": "0.22 [0.02, 0.42] (gain of c4 over wikipedia, nats a token)",
     "verdict": "undecided",
     "page": "results/ji2025_half_billion.html"
    },
    {
     "says": "The source matters more at a higher sparsity (70 % than 60 %)",
     "measured": "−0.09 [−0.16, 0.06] (the SD between sources, 70% minus 60%, nats a token; c4, wikipedia and redpajama, 5 draws each)",
     "verdict": "undecided",
     "page": "results/ji2025_half_billion.html"
    },
    {
     "says": "The source matters more at a higher sparsity (70 % than 50 %)",
     "measured": "−0.01 [−0.02, 0.14] (the SD between sources, 70% minus 50%, nats a token; c4 and wikipedia, 5 draws each)",
     "verdict": "undecided",
     "page": "results/ji2025_half_billion.html"
    },
    {
     "says": "The source matters more for 2:4 than for 50 % without structure",
     "measured": "0.04 [0.01, 0.07] (the SD between sources, 2:4 minus 50%, nats a token; c4 and wikipedia, 5 draws each)",
     "verdict": "undecided",
     "page": "results/ji2025_half_billion.html"
    },
    {
     "says": "Where pruning is easy the source makes no difference (here, at 50 %, an SD under 0.02 nats a token)",
     "measured": "0.010 [0.003, 0.018] (the SD between sources, nats a token; c4 and wikipedia, 5 draws each)",
     "verdict": "undecided",
     "page": "results/ji2025_half_billion.html"
    },
    {
     "says": "Text that the model wrote itself is better than the real text that its beginnings are of",
     "measured": "0.13 [0.04, 0.22] (gain of self from c4 and self from wikipedia over c4 and wikipedia, nats a token)",
     "verdict": "undecided",
     "page": "results/ji2025_half_billion.html"
    },
    {
     "says": "It is better than the training data themselves",
     "measured": "",
     "verdict": "not measured",
     "page": "results/ji2025_half_billion.html"
    },
    {
     "says": "C4 is better than SlimPajama, and that than Wikipedia, as they are like DCLM in this order",
     "measured": "−0.02 [−0.07, 0.03] (gain of redpajama over wikipedia (the smallest step), nats a token)",
     "verdict": "undecided",
     "page": "results/ji2025_after_begin.html"
    },
    {
     "says": "C4 is better than Wikipedia at 60 %",
     "measured": "0.063 [0.047, 0.079] (gain of c4 over wikipedia, nats a token)",
     "verdict": "held",
     "page": "results/ji2025_after_begin.html"
    },
    {
     "says": "The source matters more for 2:4 than for 50 % without structure",
     "measured": "−0.002 [−0.011, 0.028] (the SD between sources, 2:4 minus 50%, nats a token; c4 and wikipedia, 5 draws each)",
     "verdict": "undecided",
     "page": "results/ji2025_after_begin.html"
    },
    {
     "says": "Where pruning is easy the source makes no difference (here, at 50 %, an SD under 0.02 nats a token)",
     "measured": "0.008 [0.002, 0.014] (the SD between sources, nats a token; c4 and wikipedia, 5 draws each)",
     "verdict": "held",
     "page": "results/ji2025_after_begin.html"
    },
    {
     "says": "More data makes draws differ less",
     "measured": "0.65 [0.50, 0.84] (factor of the SD of a draw when the data doubles, 16, 32 and 128 sequences; c4)",
     "verdict": "held",
     "page": "results/ji2025_after_begin.html"
    },
    {
     "says": "Four times as many sequences make the mean no better (here, it moves by less than 0.02 nats)",
     "measured": "0.017 [−0.002, 0.036] (gain of 128 sequences over 32 sequences, nats a token)",
     "verdict": "undecided",
     "page": "results/ji2025_after_begin.html"
    },
    {
     "says": "Text that the model wrote itself is better than the real text that its beginnings are of",
     "measured": "0.048 [0.034, 0.061] (gain of self from c4 and self from wikipedia over c4 and wikipedia, nats a token)",
     "verdict": "held",
     "page": "results/ji2025_after_begin.html"
    },
    {
     "says": "It is better than the training data themselves",
     "measured": "",
     "verdict": "not measured",
     "page": "results/ji2025_after_begin.html"
    },
    {
     "says": "The more alike the source is to the training data, the better (3-grams in common with FineWeb-Edu)",
     "measured": "0.1 [−0.5, 0.7] (rank correlation with Jaccard of 3-grams to fineweb_edu, 10 sources; above 0: the more alike the better)",
     "verdict": "undecided",
     "page": "results/similarity.html"
    },
    {
     "says": "Text that the model wrote itself is better than the real text that its beginnings are of",
     "measured": "−0.04 [−0.10, 0.02] (gain of self from c4 and self from wikipedia over c4 and wikipedia, nats a token)",
     "verdict": "undecided",
     "page": "results/similarity.html"
    },
    {
     "says": "Wanda is better with 4,096 tokens than with 1,024",
     "measured": "0.02 [−0.04, 0.09] (gain of 16 sequences over 4 sequences, nats a token)",
     "verdict": "undecided",
     "page": "results/amounts_half_billion.html"
    },
    {
     "says": "Wanda is better with 16,384 tokens than with 4,096",
     "measured": "0.00 [−0.02, 0.03] (gain of 64 sequences over 16 sequences, nats a token)",
     "verdict": "undecided",
     "page": "results/amounts_half_billion.html"
    },
    {
     "says": "SparseGPT is better with 4,096 tokens than with 1,024",
     "measured": "0.1 [−0.2, 0.5] (gain of 16 sequences over 4 sequences, nats a token)",
     "verdict": "undecided",
     "page": "results/amounts_half_billion.html"
    },
    {
     "says": "SparseGPT is better with 16,384 tokens than with 4,096",
     "measured": "0.09 [0.02, 0.16] (gain of 64 sequences over 16 sequences, nats a token)",
     "verdict": "undecided",
     "page": "results/amounts_half_billion.html"
    }
   ]
  },
  {
   "id": "williams2024",
   "title": "On the Impact of Calibration Data in Post-training Quantization and Pruning",
   "short": "Williams 2024",
   "by": "Williams, Aletras, ACL, 2024",
   "year": 2024,
   "kind": "choice of data",
   "link": "https://arxiv.org/abs/2311.09755",
   "here": [],
   "claims": [
    {
     "says": "Which source is calibrated on changes a pruned model",
     "measured": "0.08 [0.00, 0.15] (the SD between sources, nats a token; c4, redpajama and wikipedia, 6 draws each)",
     "verdict": "undecided",
     "page": "results/williams2024.html"
    },
    {
     "says": "Sources change a pruned model more than a quantised one",
     "measured": "0.06 [−0.01, 0.13] (the SD between sources, wanda and sparsegpt 2:4 minus gptq 0%, nats a token; c4, redpajama and wikipedia, 6 draws each)",
     "verdict": "undecided",
     "page": "results/williams2024.html"
    },
    {
     "says": "Draws of one source change a pruned model more than a quantised one",
     "measured": "4.1 [2.4, 7.0] (SD of a draw, wanda and sparsegpt 2:4 ÷ gptq 0%; c4, redpajama and wikipedia, 6 draws each)",
     "verdict": "held",
     "page": "results/williams2024.html"
    },
    {
     "says": "Families of models differ in this, OPT less sensitive than LLaMA",
     "measured": "",
     "verdict": "not measured",
     "page": "results/williams2024.html"
    },
    {
     "says": "Which source is calibrated on changes a pruned model",
     "measured": "0.065 [0.046, 0.084] (the SD between sources, nats a token; c4, redpajama and wikipedia, 5 draws each)",
     "verdict": "held",
     "page": "results/williams2024_half_billion.html"
    },
    {
     "says": "Sources change a pruned model more than a quantised one",
     "measured": "0.055 [0.034, 0.077] (the SD between sources, wanda 2:4 minus gptq 0%, nats a token; c4, redpajama and wikipedia, 5 draws each)",
     "verdict": "held",
     "page": "results/williams2024_half_billion.html"
    },
    {
     "says": "Draws of one source change a pruned model more than a quantised one",
     "measured": "2.2 [1.2, 4.0] (SD of a draw, wanda 2:4 ÷ gptq 0%; c4, redpajama and wikipedia, 5 draws each)",
     "verdict": "held",
     "page": "results/williams2024_half_billion.html"
    },
    {
     "says": "Families of models differ in this, OPT less sensitive than LLaMA",
     "measured": "",
     "verdict": "not measured",
     "page": "results/williams2024_half_billion.html"
    }
   ]
  },
  {
   "id": "mixcal",
   "title": "Compressing Language Models for Specialized Domains",
   "short": "Williams 2026",
   "by": "Williams, Chrysostomou, Jeronymo, Aletras, EACL, 2026",
   "year": 2026,
   "kind": "choice of data",
   "link": "https://arxiv.org/abs/2502.18424",
   "here": [
    "mixtures, whose shares are the weights of their sources' statistics"
   ],
   "claims": [
    {
     "says": "An eighth of GSM8K serves GSM8K better than none",
     "measured": "0.017 [0.008, 0.027] (gain of an eighth gsm8k over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/shares_half_billion.html"
    },
    {
     "says": "Half GSM8K serves GSM8K better than an eighth",
     "measured": "0.018 [0.011, 0.024] (gain of half gsm8k over an eighth gsm8k, nats a token)",
     "verdict": "undecided",
     "page": "results/shares_half_billion.html"
    },
    {
     "says": "Seven eighths of GSM8K serve GSM8K better than half",
     "measured": "−0.004 [−0.018, 0.009] (gain of seven eighths gsm8k over half gsm8k, nats a token)",
     "verdict": "not held",
     "page": "results/shares_half_billion.html"
    },
    {
     "says": "An eighth of C4 beside GSM8K serves GSM8K better than none",
     "measured": "0.006 [−0.004, 0.016] (gain of seven eighths gsm8k over gsm8k, nats a token)",
     "verdict": "undecided",
     "page": "results/shares_half_billion.html"
    },
    {
     "says": "An eighth of GSM8K costs general text nothing (here, within 0.02 nats)",
     "measured": "0.002 [−0.006, 0.010] (gain of an eighth gsm8k over c4, nats a token)",
     "verdict": "held",
     "page": "results/shares_half_billion.html"
    },
    {
     "says": "Half GSM8K costs general text nothing (here, within 0.02 nats)",
     "measured": "−0.006 [−0.019, 0.008] (gain of half gsm8k over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/shares_half_billion.html"
    },
    {
     "says": "At 50 % with Wanda equal shares are better than C4 for problems of arithmetic",
     "measured": "0.035 [0.024, 0.045] (gain of equal shares over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 50 % with Wanda equal shares are better than C4 for code",
     "measured": "0.066 [0.050, 0.082] (gain of equal shares over c4, nats a token)",
     "verdict": "held",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 50 % with Wanda equal shares cost general text nothing (here, within 0.02 nats)",
     "measured": "−0.023 [−0.035, −0.011] (gain of equal shares over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 50 % with Wanda the public mixture's shares are better than equal ones for problems of arithmetic",
     "measured": "−0.002 [−0.010, 0.006] (gain of perfectblend's shares over equal shares, nats a token)",
     "verdict": "not held",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 50 % with Wanda the public mixture's shares are better than equal ones for code",
     "measured": "0.009 [0.001, 0.017] (gain of perfectblend's shares over equal shares, nats a token)",
     "verdict": "undecided",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 50 % with Wanda the public mixture's shares are better than equal ones for general text",
     "measured": "−0.025 [−0.037, −0.013] (gain of perfectblend's shares over equal shares, nats a token)",
     "verdict": "not held",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 2:4 with SparseGPT equal shares are better than C4 for problems of arithmetic",
     "measured": "0.13 [0.03, 0.22] (gain of equal shares over c4, nats a token)",
     "verdict": "undecided",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 2:4 with SparseGPT equal shares are better than C4 for code",
     "measured": "0.55 [0.44, 0.65] (gain of equal shares over c4, nats a token)",
     "verdict": "held",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 2:4 with SparseGPT equal shares cost general text nothing (here, within 0.02 nats)",
     "measured": "−0.19 [−0.26, −0.11] (gain of equal shares over c4, nats a token)",
     "verdict": "not held",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 2:4 with SparseGPT the public mixture's shares are better than equal ones for problems of arithmetic",
     "measured": "−0.02 [−0.07, 0.04] (gain of perfectblend's shares over equal shares, nats a token)",
     "verdict": "undecided",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 2:4 with SparseGPT the public mixture's shares are better than equal ones for code",
     "measured": "0.07 [−0.02, 0.17] (gain of perfectblend's shares over equal shares, nats a token)",
     "verdict": "undecided",
     "page": "results/mixtures_half_billion.html"
    },
    {
     "says": "At 2:4 with SparseGPT the public mixture's shares are better than equal ones for general text",
     "measured": "−0.23 [−0.29, −0.16] (gain of perfectblend's shares over equal shares, nats a token)",
     "verdict": "not held",
     "page": "results/mixtures_half_billion.html"
    }
   ]
  },
  {
   "id": "kurz2024",
   "title": "On the Limitations of Language Targeted Pruning",
   "short": "Kurz 2024",
   "by": "Kurz and others, 2024",
   "year": 2024,
   "kind": "choice of data",
   "link": "https://arxiv.org/abs/2408.14398",
   "here": [
    "sources in many languages (`xquad_*`, `ud_pud_*`, `mgsm_*`)"
   ],
   "claims": [
    {
     "says": "German is kept better by text in German than by English text",
     "measured": "0.31 [0.25, 0.36] (gain of German over English, nats a token)",
     "verdict": "held",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "Spanish is kept better by text in Spanish than by English text",
     "measured": "0.164 [0.147, 0.181] (gain of Spanish over English, nats a token)",
     "verdict": "held",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "Arabic is kept better by text in Arabic than by English text",
     "measured": "0.23 [0.08, 0.38] (gain of Arabic over English, nats a token)",
     "verdict": "undecided",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "Chinese is kept better by text in Chinese than by English text",
     "measured": "0.28 [0.21, 0.35] (gain of Chinese over English, nats a token)",
     "verdict": "held",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "English is kept better by English text than by text in German",
     "measured": "0.064 [0.046, 0.082] (gain of English over German, nats a token)",
     "verdict": "held",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "English is kept better by English text than by text in Spanish",
     "measured": "0.033 [0.023, 0.043] (gain of English over Spanish, nats a token)",
     "verdict": "undecided",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "English is kept better by English text than by text in Arabic",
     "measured": "0.095 [0.076, 0.113] (gain of English over Arabic, nats a token)",
     "verdict": "held",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "English is kept better by English text than by text in Chinese",
     "measured": "0.053 [0.043, 0.063] (gain of English over Chinese, nats a token)",
     "verdict": "held",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "For English a set of the five together is as good as one of English alone (here, within 0.02 nats)",
     "measured": "−0.015 [−0.027, −0.004] (gain of the five together over English, nats a token)",
     "verdict": "undecided",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "For German a set of the five together is as good as one of German alone (here, within 0.02 nats)",
     "measured": "−0.049 [−0.072, −0.026] (gain of the five together over German, nats a token)",
     "verdict": "undecided",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "For Spanish a set of the five together is as good as one of Spanish alone (here, within 0.02 nats)",
     "measured": "−0.036 [−0.047, −0.025] (gain of the five together over Spanish, nats a token)",
     "verdict": "undecided",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "For Arabic a set of the five together is as good as one of Arabic alone (here, within 0.02 nats)",
     "measured": "0.01 [−0.17, 0.18] (gain of the five together over Arabic, nats a token)",
     "verdict": "undecided",
     "page": "results/languages_half_billion.html"
    },
    {
     "says": "For Chinese a set of the five together is as good as one of Chinese alone (here, within 0.02 nats)",
     "measured": "−0.03 [−0.06, 0.00] (gain of the five together over Chinese, nats a token)",
     "verdict": "undecided",
     "page": "results/languages_half_billion.html"
    }
   ]
  },
  {
   "id": "self_calibration",
   "title": "Self-calibration for Language Model Quantization and Pruning",
   "short": "Self-calibration",
   "by": "Williams, Chrysostomou, Aletras, NAACL, 2025",
   "year": 2025,
   "kind": "self-written text",
   "link": "https://arxiv.org/abs/2410.17170",
   "here": [
    "text from the begin-of-text alone (`self:bos`)"
   ],
   "claims": []
  },
  {
   "id": "llm_qat",
   "title": "LLM-QAT",
   "short": "LLM-QAT",
   "by": "Liu and others, 2023",
   "year": 2023,
   "kind": "self-written text",
   "link": "https://arxiv.org/abs/2305.17888",
   "here": [
    "text from a random token (`self:random_token`)"
   ],
   "claims": []
  },
  {
   "id": "zipcal",
   "title": "ZipCal",
   "short": "ZipCal",
   "by": "2026",
   "year": 2026,
   "kind": "selection",
   "link": "https://arxiv.org/abs/2603.16105",
   "here": [
    "the selections `unique_tokens` and `zipf`"
   ],
   "claims": [
    {
     "says": "Documents with the most new words (ZipCal) are better than random ones",
     "measured": "0.001 [−0.006, 0.009] (gain of most new words over random, nats a token)",
     "verdict": "not held",
     "page": "results/selection_half_billion.html"
    },
    {
     "says": "Documents of rare words (ZipCal) are better than random ones",
     "measured": "0.002 [−0.006, 0.011] (gain of rarest words over random, nats a token)",
     "verdict": "not held",
     "page": "results/selection_half_billion.html"
    }
   ]
  },
  {
   "id": "cola",
   "title": "Preserving LLM capabilities through calibration data curation",
   "short": "COLA",
   "by": "NeurIPS, 2025",
   "year": 2025,
   "kind": "selection",
   "link": "https://arxiv.org/abs/2510.10618",
   "here": [
    "the selection `cluster`"
   ],
   "claims": [
    {
     "says": "Documents nearest to the centres of clusters (COLA) are better than random ones",
     "measured": "−0.001 [−0.012, 0.011] (gain of clusters over random, nats a token)",
     "verdict": "not held",
     "page": "results/selection_half_billion.html"
    }
   ]
  },
  {
   "id": "evop",
   "title": "EvoP",
   "short": "EvoP",
   "by": "2025",
   "year": 2025,
   "kind": "selection",
   "link": "https://arxiv.org/abs/2502.14910",
   "here": [
    "the selection `cluster(take=\"random\")`"
   ],
   "claims": []
  },
  {
   "id": "rsq",
   "title": "RSQ",
   "short": "RSQ",
   "by": "Sung and others, 2025",
   "year": 2025,
   "kind": "quantisation",
   "link": "https://arxiv.org/abs/2503.01820",
   "here": [
    "weights of tokens by attention (`--token-weights attention`)"
   ],
   "claims": [
    {
     "says": "Tokens weighted by the attention that they receive (RSQ) are better than all alike",
     "measured": "0.005 [0.000, 0.009] (gain of attention token weights over even token weights, nats a token)",
     "verdict": "not held",
     "page": "results/selection_half_billion.html"
    }
   ]
  },
  {
   "id": "herding",
   "title": "Super-samples from kernel herding",
   "short": "herding",
   "by": "Chen, Welling, Smola, UAI, 2010",
   "year": 2010,
   "kind": "selection",
   "link": "",
   "here": [
    "the selection `herding`, of the statistics that pruning reads"
   ],
   "claims": [
    {
     "says": "Documents chosen towards GSM8K keep it better than random ones",
     "measured": "0.009 [−0.004, 0.023] (gain of towards GSM8K over random, nats a token)",
     "verdict": "undecided",
     "page": "results/towards_half_billion.html"
    },
    {
     "says": "GSM8K's own examples keep it better still (by more than 0.02 nats)",
     "measured": "0.027 [0.015, 0.039] (gain of gsm8k over towards GSM8K, nats a token)",
     "verdict": "undecided",
     "page": "results/towards_half_billion.html"
    },
    {
     "says": "Documents chosen towards GSM8K cost general text nothing (here, they are not 0.02 nats worse than random ones)",
     "measured": "0.005 [0.000, 0.011] (gain of towards GSM8K over random, nats a token)",
     "verdict": "held",
     "page": "results/towards_half_billion.html"
    },
    {
     "says": "Herded documents are better than random ones",
     "measured": "−0.002 [−0.011, 0.008] (gain of herding over random, nats a token)",
     "verdict": "not held",
     "page": "results/selection_half_billion.html"
    }
   ]
  },
  {
   "id": "rac",
   "title": "RAC",
   "short": "RAC",
   "by": "ICLR, 2026",
   "year": 2026,
   "kind": "self-written text",
   "link": "",
   "here": [
    "the model's responses to your prompts (`self:respond`)"
   ],
   "claims": [
    {
     "says": "Own solutions with their questions serve the model's solutions better than C4",
     "measured": "0.068 [0.056, 0.080] (gain of own solutions with their questions over c4, nats a token)",
     "verdict": "held",
     "page": "results/own_solutions_half_billion.html"
    },
    {
     "says": "Own solutions with their questions serve them better than the questions alone",
     "measured": "0.030 [0.015, 0.046] (gain of own solutions with their questions over questions alone, nats a token)",
     "verdict": "undecided",
     "page": "results/own_solutions_half_billion.html"
    },
    {
     "says": "Own solutions with their questions serve them better than solutions that people wrote",
     "measured": "0.042 [0.032, 0.051] (gain of own solutions with their questions over solutions of people, nats a token)",
     "verdict": "held",
     "page": "results/own_solutions_half_billion.html"
    },
    {
     "says": "Own solutions alone, as the model decodes them, serve them better than with their questions",
     "measured": "−0.112 [−0.130, −0.095] (gain of own solutions alone over own solutions with their questions, nats a token)",
     "verdict": "not held",
     "page": "results/own_solutions_half_billion.html"
    },
    {
     "says": "For general text C4 is better than own solutions with their questions",
     "measured": "0.064 [0.049, 0.079] (gain of c4 over own solutions with their questions, nats a token)",
     "verdict": "held",
     "page": "results/own_solutions_half_billion.html"
    }
   ]
  },
  {
   "id": "min_k",
   "title": "Min-K%++: Improved Baseline for Detecting Pre-Training Data from Large Language Models",
   "short": "Min-K%++",
   "by": "Zhang and others, ICLR, 2025",
   "year": 2025,
   "kind": "likeness",
   "link": "https://arxiv.org/abs/2404.02936",
   "here": [
    "the measure Min-K%++ of `calprune calib similar`"
   ],
   "claims": []
  }
 ],
 "edges": [
  {
   "from": "wanda",
   "to": "magnitude",
   "why": "its code runs it beside Wanda"
  },
  {
   "from": "wanda",
   "to": "sparsegpt",
   "why": "its code runs it beside Wanda"
  },
  {
   "from": "gblm",
   "to": "wanda",
   "why": "its score is Wanda's with the gradient beside it"
  },
  {
   "from": "dsnot",
   "to": "wanda",
   "why": "its code starts from Wanda's mask"
  },
  {
   "from": "dsnot",
   "to": "magnitude",
   "why": "its code can start from its mask"
  },
  {
   "from": "dsnot",
   "to": "sparsegpt",
   "why": "its code can start from its score"
  },
  {
   "from": "owl",
   "to": "wanda",
   "why": "it allocates for Wanda"
  },
  {
   "from": "owl",
   "to": "sparsegpt",
   "why": "it allocates for SparseGPT"
  },
  {
   "from": "ria",
   "to": "wanda",
   "why": "its table has Wanda beside it"
  },
  {
   "from": "ria",
   "to": "sparsegpt",
   "why": "its table has SparseGPT beside it"
  },
  {
   "from": "alpha",
   "to": "wanda",
   "why": "its code allocates for Wanda"
  },
  {
   "from": "alpha",
   "to": "sparsegpt",
   "why": "its code allocates for SparseGPT"
  },
  {
   "from": "alpha",
   "to": "magnitude",
   "why": "its code allocates for it"
  },
  {
   "from": "dlp",
   "to": "owl",
   "why": "its table has OWL beside it"
  },
  {
   "from": "dlp",
   "to": "wanda",
   "why": "it allocates for Wanda"
  },
  {
   "from": "dlp",
   "to": "sparsegpt",
   "why": "it allocates for SparseGPT"
  },
  {
   "from": "block_matching",
   "to": "sparsegpt",
   "why": "its code starts from SparseGPT's mask"
  },
  {
   "from": "linear",
   "to": "wanda",
   "why": "it allocates for Wanda"
  },
  {
   "from": "wanda_plus_plus",
   "to": "wanda",
   "why": "its score is Wanda's with the gradient beside it"
  },
  {
   "from": "sparseswaps",
   "to": "wanda",
   "why": "it starts from Wanda's mask"
  },
  {
   "from": "rose",
   "to": "sparsegpt",
   "why": "it is SparseGPT with its columns reordered"
  },
  {
   "from": "shin2024",
   "to": "sparsegpt",
   "why": "its code starts from its mask"
  },
  {
   "from": "shin2024",
   "to": "wanda",
   "why": "its code can start from its mask"
  },
  {
   "from": "shin2024",
   "to": "magnitude",
   "why": "its code can start from its mask"
  },
  {
   "from": "shin2024",
   "to": "llm_qat",
   "why": "its self-written text is made that way"
  },
  {
   "from": "free_lunch",
   "to": "wanda",
   "why": "it compares masks by Wanda, RIA and SparseGPT"
  },
  {
   "from": "free_lunch",
   "to": "ria",
   "why": "it compares masks by Wanda, RIA and SparseGPT"
  },
  {
   "from": "free_lunch",
   "to": "sparsegpt",
   "why": "it compares masks by Wanda, RIA and SparseGPT"
  },
  {
   "from": "bandari2024",
   "to": "wanda",
   "why": "its code is a fork of Wanda's"
  },
  {
   "from": "bandari2024",
   "to": "sparsegpt",
   "why": "its code runs it too"
  },
  {
   "from": "bandari2024",
   "to": "magnitude",
   "why": "its code runs it too"
  },
  {
   "from": "ji2025",
   "to": "wanda",
   "why": "it prunes with it"
  },
  {
   "from": "ji2025",
   "to": "sparsegpt",
   "why": "it prunes with it"
  },
  {
   "from": "ji2025",
   "to": "dsnot",
   "why": "it prunes with it"
  },
  {
   "from": "ji2025",
   "to": "owl",
   "why": "it prunes with it"
  },
  {
   "from": "ji2025",
   "to": "magnitude",
   "why": "it prunes with it"
  },
  {
   "from": "ji2025",
   "to": "min_k",
   "why": "it measures with Min-K%++ how like training data a text is"
  },
  {
   "from": "williams2024",
   "to": "gptq",
   "why": "it quantises with it"
  },
  {
   "from": "williams2024",
   "to": "sparsegpt",
   "why": "it prunes with it"
  },
  {
   "from": "williams2024",
   "to": "wanda",
   "why": "it prunes with it"
  },
  {
   "from": "kurz2024",
   "to": "wanda",
   "why": "it prunes with it"
  },
  {
   "from": "kurz2024",
   "to": "sparsegpt",
   "why": "it prunes with it"
  },
  {
   "from": "rsq",
   "to": "gptq",
   "why": "its code solves with GPTQ"
  }
 ],
 "kinds": [
  "choice of data",
  "self-written text",
  "selection",
  "likeness",
  "score",
  "mask refinement",
  "weight update",
  "reconstruction",
  "allocation",
  "quantisation"
 ]
};
