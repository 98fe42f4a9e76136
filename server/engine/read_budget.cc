#include "server/engine/read_budget.h"

#include <algorithm>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "server/engine/types.h"

namespace vecino::engine {
namespace {

// Documents of the first step, whose sizes are not known: 18 MiB when all are as large as may be.
constexpr size_t kFirstStep = 16;

// Of one step. More would make reading small documents hardly cheaper.
constexpr size_t kMaxStep = 64;

}  // namespace

absl::Status ReadBudget::Add(size_t bytes, size_t copies) {
  const size_t left = max_bytes_ - bytes_;
  if (bytes > 0 && copies > left / bytes) {
    absl::Status status = absl::ResourceExhaustedError(
        absl::StrCat("the documents take more than the ", max_bytes_,
                     " bytes that a reply may have; ", documents_ + left / bytes, " fitted"));
    status.SetPayload({kOverBudgetPayload.data(), kOverBudgetPayload.size()}, absl::Cord());
    return status;
  }
  bytes_ += bytes * copies;
  documents_ += copies;
  return absl::OkStatus();
}

size_t ReadBudget::NextStep() const {
  if (bytes_ == 0) return kFirstStep;
  const size_t average = std::max<size_t>(1, bytes_ / documents_);
  return std::clamp<size_t>((max_bytes_ - bytes_) / average, 1, kMaxStep);
}

size_t ReplyBytes(const storage::Document& document) {
  return document.id.size() + document.text.size() + document.metadata.size() / 2 +
         document.vector.size() * sizeof(float);
}

absl::StatusOr<std::vector<std::optional<storage::Document>>> ReadDocuments(
    const storage::ShardLog& log, std::span<const uint64_t> sequences,
    const storage::DocumentParts& parts,
    absl::FunctionRef<size_t(size_t i, const storage::Document& document)> copies,
    ReadBudget* budget) {
  std::vector<std::optional<storage::Document>> documents;
  documents.reserve(sequences.size());
  while (documents.size() < sequences.size()) {
    const size_t step = std::min(budget->NextStep(), sequences.size() - documents.size());
    auto found = log.GetDocuments(sequences.subspan(documents.size(), step), parts);
    if (!found.ok()) return found.status();
    for (std::optional<storage::Document>& document : *found) {
      if (document.has_value()) {
        absl::Status status =
            budget->Add(ReplyBytes(*document), copies(documents.size(), *document));
        if (!status.ok()) return status;
      }
      documents.push_back(std::move(document));
    }
  }
  return documents;
}

}  // namespace vecino::engine
