"""Several test processes share the cores: one thread each, or they wait for each other."""

import torch

torch.set_num_threads(1)
