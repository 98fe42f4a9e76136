// Reading documents for a reply of limited size: some at a time, and no further than they fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/document.h"
#include "storage/shard_log.h"

namespace vecino::engine {

// Counts the bytes of the documents that were read for one reply.
//
// Thread safety: none; one call uses it.
class ReadBudget {
 public:
  explicit ReadBudget(size_t max_bytes) : max_bytes_(max_bytes) {}

  // Counts a document that stands `copies` times in the reply. RESOURCE_EXHAUSTED, for which
  // IsOverBudget holds, when it does not fit any more: the message gives the limit and how many
  // documents fitted.
  absl::Status Add(size_t bytes, size_t copies = 1);

  // How many documents to read next, 1 to 64: as many as are likely to fit. So a call holds, beyond
  // its limit, never more than one such step.
  size_t NextStep() const;

 private:
  const size_t max_bytes_;
  size_t bytes_ = 0;      // at most max_bytes_
  size_t documents_ = 0;  // that take them
};

// At most what the document takes in a reply, so that a reply that fits is never refused: id, text
// and vector, and half of the metadata, whose numbers are shorter in a message than in JSON.
size_t ReplyBytes(const storage::Document& document);

// As ShardLog::GetDocuments, within `budget`. copies: how often the i-th document stands in the
// reply, 0 to leave it out of the count.
absl::StatusOr<std::vector<std::optional<storage::Document>>> ReadDocuments(
    const storage::ShardLog& log, std::span<const uint64_t> sequences,
    const storage::DocumentParts& parts,
    absl::FunctionRef<size_t(size_t i, const storage::Document& document)> copies,
    ReadBudget* budget);

}  // namespace vecino::engine
