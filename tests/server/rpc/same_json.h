// Whether two texts of JSON say the same, whoever wrote their numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace vecino::rpc {

// Numbers may differ as two ways to write the same float do.
inline bool SameJson(const nlohmann::json& a, const nlohmann::json& b) {
  if (a.is_number() && b.is_number()) {
    const double x = a.get<double>(), y = b.get<double>();
    return x == y || std::abs(x - y) <= 1e-4 * std::max(std::abs(x), std::abs(y));
  }
  if (a.type() != b.type() || a.size() != b.size()) return false;
  if (a.is_array()) return std::equal(a.begin(), a.end(), b.begin(), SameJson);
  if (!a.is_object()) return a == b;
  return std::all_of(a.items().begin(), a.items().end(), [&](const auto& item) {
    return b.contains(item.key()) && SameJson(item.value(), b[item.key()]);
  });
}

}  // namespace vecino::rpc
