// How rows are scored against a query inside the index.
#pragma once

namespace vecino::index {

// Cosine is kInnerProduct over vectors that the caller has normalised.
enum class Metric {
  kInnerProduct,  // higher is more similar
  kL2,            // squared Euclidean distance; lower is more similar
};

}  // namespace vecino::index
