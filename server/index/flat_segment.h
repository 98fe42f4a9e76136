// A segment that compares every row: exact, cost grows with the number of rows.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/index/segment.h"

namespace vecino::index {

// Collects rows and makes a segment of them. Not thread safe. Each error leaves the builder usable
// for nothing but destruction. RESOURCE_EXHAUSTED: no memory.
class FlatSegmentBuilder {
 public:
  FlatSegmentBuilder(Metric metric, int dimension);
  ~FlatSegmentBuilder();
  FlatSegmentBuilder(const FlatSegmentBuilder&) = delete;
  FlatSegmentBuilder& operator=(const FlatSegmentBuilder&) = delete;

  // Makes room for `rows` rows, so that adding them moves nothing.
  absl::Status Reserve(int64_t rows);

  // vector: `dimension` floats, copied. label: higher than the last one, or INTERNAL.
  absl::Status Add(uint64_t label, const float* vector);

  int64_t size() const;

  // The segment, or null when no row was added. Call once, last.
  absl::StatusOr<std::shared_ptr<const Segment>> Build();

 private:
  class FlatSegment;
  std::shared_ptr<FlatSegment> segment_;
};

}  // namespace vecino::index
