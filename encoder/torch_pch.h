// Precompiled: LibTorch takes ~20 s of every translation unit that includes it.
#pragma once

#include <torch/script.h>
