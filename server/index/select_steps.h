// The loops of SelectBest and KeepBest, one set for each level. For select*.cc only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "server/index/pq_scan.h"

namespace vecino::index {

// Floats are compared as whole numbers in the same order, "keys": the bits, with all but the sign
// turned round for those below zero. Adding 0 before makes one zero of the two.
constexpr int32_t kKeyPadding = std::numeric_limits<int32_t>::min();  // the key of no number
constexpr size_t kKeyStep = 16;  // keys are padded to a multiple

struct KeyRange {
  int32_t lowest, highest;
};

// What is taken: keys above `above`, and the first `ties` of those equal to it.
template <typename Key>
struct SelectCut {
  Key above;
  size_t ties;
};

// The steps of both selections at one level. Keys: n rounded up to kKeyStep.
struct SelectSteps {
  // Writes the keys of n scores, padded; returns the range of those that are not padding. flip: −1
  // turns the order round, 0 does not.
  KeyRange (*make_keys)(const float* scores, size_t n, int32_t flip, int32_t* keys);
  size_t (*keys_at_least)(const int32_t* keys, size_t n, int32_t key);
  // Overwrites keys from the front with the indexes of those that are taken.
  void (*take_keys)(int32_t* keys, size_t n, SelectCut<int32_t> cut);

  void (*sum_range)(const PqCandidate* candidates, size_t n, uint32_t* lowest, uint32_t* highest);
  size_t (*sums_at_least)(const PqCandidate* candidates, size_t n, uint32_t sum);
  // Moves what is taken to the front.
  void (*take_sums)(PqCandidate* candidates, size_t n, SelectCut<uint32_t> cut);
};

// Of any CPU; other levels use them where there is nothing to gain.
namespace select_portable {
KeyRange MakeKeys(const float* scores, size_t n, int32_t flip, int32_t* keys);
size_t KeysAtLeast(const int32_t* keys, size_t n, int32_t key);
void TakeKeys(int32_t* keys, size_t n, SelectCut<int32_t> cut);
void SumRange(const PqCandidate* candidates, size_t n, uint32_t* lowest, uint32_t* highest);
size_t SumsAtLeast(const PqCandidate* candidates, size_t n, uint32_t sum);
void TakeSums(PqCandidate* candidates, size_t n, SelectCut<uint32_t> cut);
}  // namespace select_portable

#if defined(__x86_64__)
extern const SelectSteps kAvx2SelectSteps, kAvx512SelectSteps;
#endif

}  // namespace vecino::index
