#include "server/rpc/event_stream.h"

#include <algorithm>
#include <optional>

#include "server/rpc/conversions.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

// Statuses quote what callers sent, and may be long.
constexpr size_t kMaxMessageBytes = 4096;

v1::EventKind WriteKind(engine::Event::Kind kind) {
  switch (kind) {
    case engine::Event::Kind::kDrain:
      return v1::EVENT_KIND_DRAIN;
    case engine::Event::Kind::kMerge:
      return v1::EVENT_KIND_MERGE;
    case engine::Event::Kind::kRetrain:
      return v1::EVENT_KIND_RETRAIN;
    case engine::Event::Kind::kRetrainStage:
      return v1::EVENT_KIND_RETRAIN_STAGE;
    case engine::Event::Kind::kRetrainRejected:
      return v1::EVENT_KIND_RETRAIN_REJECTED;
    case engine::Event::Kind::kCalibrate:
      return v1::EVENT_KIND_CALIBRATE;
    case engine::Event::Kind::kGraph:
      return v1::EVENT_KIND_GRAPH;
    case engine::Event::Kind::kFailure:
      return v1::EVENT_KIND_FAILURE;
    case engine::Event::Kind::kCollectionCreated:
      return v1::EVENT_KIND_COLLECTION_CREATED;
    case engine::Event::Kind::kCollectionUpdated:
      return v1::EVENT_KIND_COLLECTION_UPDATED;
    case engine::Event::Kind::kCollectionDeleted:
      return v1::EVENT_KIND_COLLECTION_DELETED;
    case engine::Event::Kind::kAliasChanged:
      return v1::EVENT_KIND_ALIAS_CHANGED;
    case engine::Event::Kind::kOperationStarted:
      return v1::EVENT_KIND_OPERATION_STARTED;
    case engine::Event::Kind::kOperationEnded:
      return v1::EVENT_KIND_OPERATION_ENDED;
    case engine::Event::Kind::kMigration:
      return v1::EVENT_KIND_MIGRATION;
  }
  return v1::EVENT_KIND_UNSPECIFIED;
}

}  // namespace

absl::StatusOr<bool> EventStream::Fill(v1::WatchEventsResponse* response) {
  if (!begun_) {
    begun_ = true;
    return true;
  }
  const std::optional<engine::EventBus::Watcher::Delivery> next = watcher_->Take();
  if (!next.has_value()) return absl::InternalError("an event was announced and is not there");
  response->set_missed(next->missed);
  v1::Event& event = *response->mutable_event();
  WriteTime(next->event.time, event.mutable_time());
  if (!next->event.collection.empty()) event.set_collection(CollectionName(next->event.collection));
  if (next->event.shard.has_value()) event.set_shard(*next->event.shard);
  event.set_kind(WriteKind(next->event.kind));
  event.set_message(Printable(next->event.message, kMaxMessageBytes));
  return true;
}

}  // namespace vecino::rpc
