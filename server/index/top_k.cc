#include "server/index/top_k.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace vecino::index {
namespace {

// A heap with this order has the hit that ranks last in front.
struct WorstFirst {
  Metric metric;
  bool operator()(const Hit& a, const Hit& b) const { return RanksBefore(metric, a, b); }
};

}  // namespace

TopK::TopK(Metric metric, int k) : metric_(metric), k_(static_cast<size_t>(std::max(k, 1))) {
  // Callers may ask for far more rows than there are, so grow with what arrives.
  heap_.reserve(std::min<size_t>(k_, 1024));
}

void TopK::Insert(const Hit& hit) {
  if (std::isnan(hit.score)) return;
  const WorstFirst order{metric_};
  if (full()) {
    std::pop_heap(heap_.begin(), heap_.end(), order);
    heap_.back() = hit;
  } else {
    heap_.push_back(hit);
  }
  std::push_heap(heap_.begin(), heap_.end(), order);
}

std::vector<Hit> TopK::Take() {
  std::sort_heap(heap_.begin(), heap_.end(), WorstFirst{metric_});
  return std::exchange(heap_, {});
}

}  // namespace vecino::index
