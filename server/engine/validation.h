// What callers may send. Every error is InvalidField with the path, the value and the limit.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/types.h"

namespace vecino::engine {

// Number of things in one call: 1 to Limits::kMaxBatch.
absl::Status CheckBatchSize(std::string_view field, size_t size);

// ^[a-z0-9][a-z0-9_-]{0,62}$
absl::Status CheckCollectionId(std::string_view field, std::string_view id);

// 1 to 512 bytes of UTF-8 without NUL.
absl::Status CheckDocumentId(std::string_view field, std::string_view id);

// UTF-8 of at most 1 MiB; may be empty.
absl::Status CheckText(std::string_view field, std::string_view text);

// Id, text and metadata of a document at `path`, such as `documents[3]`.
absl::Status CheckDocument(std::string_view path, const storage::Document& document);

// expire_time and ttl of a document at `path`, written at `now_us`: not both, in the future, and
// before the year 10000.
absl::Status CheckExpiry(std::string_view path, const DocumentWrite& write, int64_t now_us);

// 1 to Limits::kMaxTopK.
absl::Status CheckTopK(std::string_view field, int top_k);

// Ranges, and that each parameter is one of the kind's. Paths start with `collection.index_policy`.
// dimension: of the collection, which pq_m must divide.
absl::Status CheckIndexSpec(const IndexSpec& spec, int dimension);

// RetrainIndexRequest.min_recall_gate.
absl::Status CheckRecallGate(double min_recall);
// recall_target, nprobe, ef_search, rerank and exact of a search.
absl::Status CheckEffort(const SearchRequest& request);

// `shards` ascending, each once, all of them when it is empty. INVALID_ARGUMENT for a number that
// is not 0 to shard_count - 1.
absl::StatusOr<std::vector<int>> CheckShards(std::string_view field, absl::Span<const int> shards,
                                             int shard_count);

// Checks a vector and makes it what is indexed: of length 1 under cosine, as it is otherwise.
// Refuses a wrong dimension, NaN and infinities, the zero vector under cosine, and under the other
// metrics a length over 1e18, so that no score can overflow: squared distances stay below 4e36,
// floats end at 3.4e38.
absl::Status PrepareVector(std::string_view field, Metric metric, int dimension,
                           std::vector<float>* vector);

}  // namespace vecino::engine
