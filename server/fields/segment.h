// An immutable set of documents with their labels, the columns of their metadata, and their words.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/fields/columns.h"
#include "server/fields/postings.h"

namespace vecino::fields {

// Slots go by ascending label. Which documents are dead is kept beside it. Thread safe.
class FieldSegment {
 public:
  // labels: ascending, at least one. rows: one for each.
  static std::shared_ptr<const FieldSegment> Build(std::vector<uint64_t> labels,
                                                   std::span<const Row> rows);

  // What of `sources`, whose labels ascend from one to the next, is not dead. dead: bits by slot
  // for each source. maps: for each source the new slot of each slot, Columns::kGone for those left
  // out. Null when nothing is left. All postings together have 3 GiB at most.
  static std::shared_ptr<const FieldSegment> Merge(std::span<const FieldSegment* const> sources,
                                                   std::span<const std::vector<uint64_t>> dead,
                                                   std::vector<std::vector<uint32_t>>* maps);

  // One file, whole or not at all (index::SegmentFile); path "": nothing. RESOURCE_EXHAUSTED.
  // Blocks on the disk.
  absl::Status Save(const std::string& path) const;
  // NOT_FOUND, DATA_LOSS, FAILED_PRECONDITION for a newer format version.
  static absl::StatusOr<std::shared_ptr<const FieldSegment>> Load(const std::string& path);

  // Never the same for two segments of this process.
  uint64_t id() const { return id_; }
  uint32_t size() const { return static_cast<uint32_t>(labels_.size()); }
  uint64_t label(uint32_t slot) const { return labels_[slot]; }
  const std::vector<uint64_t>& labels() const { return labels_; }
  // The slot of a label, Columns::kGone for none.
  uint32_t FindSlot(uint64_t label) const;
  const Columns& columns() const { return *columns_; }
  // Null when no document has words.
  const Postings* postings() const { return postings_.get(); }
  int64_t bytes() const;

 private:
  FieldSegment(std::vector<uint64_t> labels, std::shared_ptr<const Columns> columns,
               std::shared_ptr<const Postings> postings);

  const uint64_t id_;
  const std::vector<uint64_t> labels_;
  const std::shared_ptr<const Columns> columns_;
  const std::shared_ptr<const Postings> postings_;
};

}  // namespace vecino::fields
