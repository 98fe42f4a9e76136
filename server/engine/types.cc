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

std::string EtagOf(uint32_t uid, uint64_t sequence) {
  return absl::StrCat(absl::Hex(uid), "-", absl::Hex(sequence));
}

absl::Status WrongEtag(std::string_view collection, std::string_view id, std::string_view current,
                       std::string_view given) {
  return absl::AbortedError(absl::StrCat("document `", View(id), "` of `", View(collection),
                                         "` has etag `", View(current), "`, not `", View(given),
                                         "`; read it again and repeat the change"));
}

absl::Status NoEtag(std::string_view collection, std::string_view id, std::string_view given) {
  return absl::AbortedError(absl::StrCat("document `", View(id), "` does not exist in `",
                                         View(collection), "` (any more), so its etag is not `",
                                         View(given), "`"));
}

bool IsOverBudget(const absl::Status& status) {
  return status.GetPayload(View(kOverBudgetPayload)).has_value();
}

}  // namespace vecino::engine
