// Nearest codewords and inner products of sub-vectors of 4 dimensions for 16 codewords.
#pragma once

#include <cstddef>
#include <cstdint>

#include "server/index/cpu.h"

namespace vecino::index {

// What the kernels read of a sub-quantizer: coordinate j of each of the 16 codewords at 16 · j,
// then half of each one's squared length. The score of x for codeword c is x · c − ‖c‖² / 2, so
// that the highest belongs to the nearest. All levels give the same bits. Thread safe.
inline constexpr size_t kPqKernelFloats = 80;

// codewords: 16 × 4 floats. kernel: kPqKernelFloats, written.
void PqMakeKernel(const float* codewords, float* kernel);

// x: 4 · m floats; kernels: m of them, one for each 4. codes: m, the codeword of the highest score,
// of equal ones the lowest.
void PqNearest(const float* kernels, size_t m, const float* x, uint8_t* codes, CpuLevel level);

// The same, with n rows x of 4 floats for one kernel.
void PqNearestOfOne(const float* kernel, size_t n, const float* x, uint8_t* codes, CpuLevel level);

// The inner products x · c alone. products: m × 16 floats, written.
void PqProducts(const float* kernels, size_t m, const float* x, float* products, CpuLevel level);

}  // namespace vecino::index
