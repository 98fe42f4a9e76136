// Client's call that streams an index out of the server.
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/conversions.h"
#include "client/error_details.h"
#include "client/impl.h"
#include "client/vecino/client.h"

namespace vecino {
namespace {

IndexExportInfo FromProto(const v1::ExportIndexHeader& message) {
  v1::Collection definition;
  definition.set_metric(message.metric());
  definition.mutable_index_policy()->set_kind(message.kind());
  const Collection collection = internal::FromProto(definition);
  return {.shard = message.shard(),
          .shard_count = message.shard_count(),
          .rows = message.rows(),
          .index_bytes = message.index_bytes(),
          .description = message.description(),
          .index_kind = collection.index_kind,
          .dimension = message.dimension(),
          .metric = collection.metric};
}

// Hands the messages of one stream to a sink and sees that all of them come.
class Receiver {
 public:
  explicit Receiver(IndexExportSink* sink) : sink_(*sink) {}

  bool begun() const { return info_.has_value(); }

  Status Take(v1::ExportIndexResponse* message) {
    if (message->has_header() == begun()) return Broken("its header is not its first message");
    switch (message->part_case()) {
      case v1::ExportIndexResponse::kHeader:
        info_ = FromProto(message->header());
        return sink_.Begin(*info_);
      case v1::ExportIndexResponse::kIndexData:
        bytes_ += static_cast<int64_t>(message->index_data().size());
        if (ids_ > 0 || bytes_ > info_->index_bytes) return Broken("more of the file came");
        return sink_.IndexData(message->index_data());
      case v1::ExportIndexResponse::kDocumentIds: {
        auto& ids = *message->mutable_document_ids()->mutable_ids();
        ids_ += ids.size();
        if (ids_ > info_->rows || bytes_ != info_->index_bytes) return Broken("ids came too soon");
        return sink_.DocumentIds(
            {std::make_move_iterator(ids.begin()), std::make_move_iterator(ids.end())});
      }
      case v1::ExportIndexResponse::PART_NOT_SET:
        break;
    }
    return Status();  // of a later version
  }

  Status End() const {
    if (begun() && bytes_ == info_->index_bytes && ids_ == info_->rows) return Status();
    return Broken("it ended too soon");
  }

 private:
  static Status Broken(const std::string& what) {
    return Status(Code::kDataLoss, "the server's stream is broken: " + what);
  }

  IndexExportSink& sink_;
  std::optional<IndexExportInfo> info_;
  int64_t bytes_ = 0, ids_ = 0;
};

}  // namespace

Status Client::ExportIndex(const std::string& collection, int shard, bool vectors,
                           IndexExportSink& sink) {
  if (Status status = internal::CheckUtf8(collection, "name"); !status.ok()) return status;
  v1::ExportIndexRequest request;
  request.set_name(internal::CollectionName(collection));
  request.set_shard(shard);
  request.set_omit_vectors(!vectors);

  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline = Clock::now() + impl_->options.timeout;
  ClientOptions options = impl_->options;
  for (int attempt = 1;; ++attempt) {
    Receiver receiver(&sink);
    Status ours;    // ends the call whatever the server says
    Status broken;  // how a stream ended that had begun
    const Status status = internal::CallWithRetry(options, [&](grpc::ClientContext* context) {
      v1::ExportIndexResponse message;
      const auto reader = impl_->collections->ExportIndex(context, request);
      while (ours.ok() && reader->Read(&message)) ours = receiver.Take(&message);
      if (!ours.ok()) context->TryCancel();
      grpc::Status reply = reader->Finish();
      if (!ours.ok()) return grpc::Status::OK;
      if (!receiver.begun()) return reply;
      broken = internal::FromGrpc(reply);
      return grpc::Status::OK;
    });
    if (!ours.ok() || !status.ok()) return ours.ok() ? status : ours;
    if (broken.ok()) return receiver.End();
    // Nobody here cancelled it: servers before this one cut a slow reader off so at their stop.
    const bool passes = broken.code() == Code::kUnavailable || broken.code() == Code::kCancelled;
    const auto wait = internal::Backoff(options, attempt);
    if (!passes || attempt >= options.max_attempts || Clock::now() + wait >= deadline ||
        !sink.Restart(broken)) {
      return broken;
    }
    std::this_thread::sleep_for(wait);
    options.timeout =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  }
}

}  // namespace vecino
