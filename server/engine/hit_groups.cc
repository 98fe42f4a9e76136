#include "server/engine/hit_groups.h"

#include <variant>

namespace vecino::engine {
namespace {

// Equal for equal values, and only for them.
std::string KeyOf(const GroupValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return "s" + *text;
  if (const auto* truth = std::get_if<bool>(&value)) return *truth ? "t" : "f";
  const double number = std::get<double>(value);
  std::string key = "n";
  key.append(reinterpret_cast<const char*>(&number), sizeof(number));
  return key;
}

}  // namespace

HitGroups::HitGroups(int max_groups, int group_size)
    : max_groups_(static_cast<size_t>(max_groups)), group_size_(static_cast<size_t>(group_size)) {}

void HitGroups::Add(size_t hit, const GroupValue& value) {
  if (std::holds_alternative<std::monostate>(value)) {
    if (!has_all()) groups_.push_back({value, {hit}});
    return;
  }
  std::string key = KeyOf(value);
  const auto at = by_value_.find(key);
  if (at == by_value_.end()) {
    if (has_all()) return;
    by_value_.emplace(std::move(key), groups_.size());
    groups_.push_back({value, {hit}});
    open_ += group_size_ > 1;
    return;
  }
  std::vector<size_t>& hits = groups_[at->second].hits;
  if (hits.size() == group_size_) return;
  hits.push_back(hit);
  open_ -= hits.size() == group_size_;
}

}  // namespace vecino::engine
