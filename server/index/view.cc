#include "server/index/view.h"

#include "server/index/top_k.h"

namespace vecino::index {

absl::StatusOr<std::vector<Hit>> Search(const View& view, Metric metric, const float* query, int k,
                                        absl::FunctionRef<absl::Status()> checkpoint) {
  TopK top(metric, k);
  for (const SegmentRows& rows : view.segments) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    if (absl::Status status = rows.segment->Search(query, *rows.dead, &top); !status.ok()) {
      return status;
    }
  }
  for (const std::shared_ptr<Tail>& tail : view.frozen) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    tail->Search(query, &top);
  }
  // V3: rows that came after the pin may stand in tails newer than the view.
  for (const Tail* tail = view.tail.get(); tail != nullptr; tail = tail->next()) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    tail->Search(query, &top);
  }
  return top.Take();
}

}  // namespace vecino::index
