#include "server/engine/types.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace vecino::engine {
namespace {

absl::string_view View(std::string_view s) { return {s.data(), s.size()}; }

}  // namespace

absl::Status InvalidField(std::string_view field, std::string_view message) {
  absl::Status status = absl::InvalidArgumentError(absl::StrCat(View(field), ": ", View(message)));
  status.SetPayload(View(kFieldPayload), absl::Cord(View(field)));
  return status;
}

std::string FieldOf(const absl::Status& status) {
  const auto payload = status.GetPayload(View(kFieldPayload));
  return payload.has_value() ? std::string(*payload) : std::string();
}

bool IsOverBudget(const absl::Status& status) {
  return status.GetPayload(View(kOverBudgetPayload)).has_value();
}

}  // namespace vecino::engine
