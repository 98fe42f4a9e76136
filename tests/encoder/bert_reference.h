// A small BERT of random numbers, and what the formulas make of it, in double.
#pragma once

#include <cstdint>
#include <vector>

#include "encoder/bert_weights.h"

namespace vecino::encoder {

using Rows = std::vector<std::vector<int32_t>>;
using Vector = std::vector<double>;

// By default of sizes that fill no vector and no block.
struct BertForm {
  bool mean_pooling = true, normalize = true;
  bool mpnet = false;  // positions counted from an id, and relative biases
  int width = 60, heads = 3, inner = 100, layers = 2, vocab = 50, positions = 300;
};
BertWeights RandomWeights(const BertForm& form = {});

// The vector of one row, written as the formulas stand.
Vector Expected(const BertWeights& weights, const std::vector<int32_t>& row);

// Of lengths around those of vectors and blocks, at most 280, with ids below `vocab`.
Rows SomeRows(int vocab = BertForm().vocab);

double Cosine(const float* a, const Vector& b);

}  // namespace vecino::encoder
