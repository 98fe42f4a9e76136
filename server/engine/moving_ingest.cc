#include "server/engine/moving_ingest.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/write_gate.h"

namespace vecino::engine {
namespace {

class MovingIngest final : public IngestStream {
 public:
  MovingIngest(FindCollectionFn find, std::shared_ptr<Collection> collection,
               std::unique_ptr<IngestStream> stream)
      : find_(std::move(find)),
        done_through_(stream->done_through()),
        side_{std::move(collection), std::move(stream)} {}

  uint64_t done_through() const override { return done_through_; }

  absl::Status Prepare(absl::Span<IngestWrite> writes, const CallContext& context) override {
    WriteGate::Pass pass;
    const auto side = Enter(context, &pass);
    return side.ok() ? PrepareOn(*side, writes, context) : side.status();
  }

  absl::Status Commit(absl::Span<IngestWrite> writes, uint64_t done_through,
                      const CallContext& context) override {
    WriteGate::Pass pass;
    const auto side = Enter(context, &pass);
    if (!side.ok()) return side.status();
    const uint32_t uid = side->collection->uid();
    const bool moved = std::any_of(writes.begin(), writes.end(), [&](const IngestWrite& write) {
      return !write.settled && write.prepared_for != uid;
    });
    if (moved) {
      for (IngestWrite& write : writes) {
        if (!write.settled && write.embedded) write.write.document.vector.clear();
      }
      if (absl::Status status = PrepareOn(*side, writes, context); !status.ok()) return status;
    }
    return side->stream->Commit(writes, done_through, context);
  }

  absl::Status Finish() override {
    WriteGate::Pass pass;
    const auto side = Enter({}, &pass);
    return side.ok() ? side->stream->Finish() : side.status();
  }

  IngestPressure Pressure() const override {
    absl::MutexLock lock(&mu_);
    return side_.stream->Pressure();
  }

 private:
  struct Side {
    std::shared_ptr<Collection> collection;
    std::shared_ptr<IngestStream> stream;
  };

  // Lets the call into the side that callers see now, and moves the stream there.
  absl::StatusOr<Side> Enter(const CallContext& context, WriteGate::Pass* pass) {
    while (true) {
      Side side;
      {
        absl::MutexLock lock(&mu_);
        side = side_;
      }
      auto entered = side.collection->gate().Enter(context);
      if (!entered.ok()) return entered.status();
      if (*entered) {
        *pass = *std::move(entered);
        return side;
      }
      auto found = find_();
      if (!found.ok()) return found.status();
      if (!(*found)->SharesStreams(*side.collection)) {
        return absl::NotFoundError(
            absl::StrCat("collection `", (*found)->id(), "` was deleted and made anew"));
      }
      // Nobody is inside the old side any more, so nobody uses its stream.
      absl::MutexLock lock(&mu_);
      if (side_.collection != side.collection) continue;
      side_.stream = Collection::MoveIngest(side_.stream.get(), *found);
      side_.collection = *std::move(found);
    }
  }

  static absl::Status PrepareOn(const Side& side, absl::Span<IngestWrite> writes,
                                const CallContext& context) {
    const uint32_t uid = side.collection->uid();
    for (IngestWrite& write : writes) {
      if (write.settled) continue;
      write.embedded =
          write.write.document.vector.empty() || (write.embedded && write.prepared_for == uid);
    }
    absl::Status status = side.stream->Prepare(writes, context);
    if (!status.ok()) return status;
    for (IngestWrite& write : writes) write.prepared_for = uid;
    return status;
  }

  const FindCollectionFn find_;
  const uint64_t done_through_;
  mutable absl::Mutex mu_;
  Side side_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<IngestStream>> OpenMovingIngest(FindCollectionFn find,
                                                               std::string_view token,
                                                               Truncate truncate) {
  while (true) {
    auto found = find();
    if (!found.ok()) return found.status();
    const auto pass = (*found)->gate().Enter({});
    if (!pass.ok()) return pass.status();
    if (!*pass) continue;
    auto stream = Collection::OpenIngest(*found, token, truncate);
    if (!stream.ok()) return stream.status();
    return std::make_unique<MovingIngest>(std::move(find), *std::move(found), *std::move(stream));
  }
}

}  // namespace vecino::engine
