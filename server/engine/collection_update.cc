#include "server/engine/collection_update.h"

#include <spdlog/spdlog.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/engine/stored_spec.h"
#include "server/engine/validation.h"

namespace vecino::engine {
namespace {

// "recall_target 0.99, before 0.95; nprobe 8, before what is measured".
std::string Describe(const IndexSpec& before, const IndexSpec& now) {
  std::vector<std::string> changes;
  const auto add = [&](const char* name, const auto& was, const auto& is) {
    if (was != is) changes.push_back(absl::StrCat(name, " ", is, ", before ", was));
  };
  const auto knob = [](int value) {
    return value == 0 ? std::string("as measured") : absl::StrCat(value);
  };
  add("recall_target", before.recall_target, now.recall_target);
  add("nprobe", knob(before.nprobe), knob(now.nprobe));
  add("ef_search", knob(before.ef_search), knob(now.ef_search));
  add("graph", std::string(before.graph ? "true" : "false"),
      std::string(now.graph ? "true" : "false"));
  return absl::StrJoin(changes, "; ");
}

}  // namespace

void Collection::SetIndex(const IndexSpec& spec) {
  index_.Set(spec);
  for (const auto& shard : shards_) shard->SetIndex(spec);
}

absl::Status CheckEtag(const CollectionInfo& info, std::string_view etag) {
  if (etag.empty() || etag == info.etag) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("collection `", info.spec.id, "` has etag `", info.etag,
                                         "`, not the one given; read it again"));
}

absl::StatusOr<CollectionInfo> UpdateCollection(const CollectionUpdate& update,
                                                storage::Store* store, Migrations* migrations,
                                                EventBus* events, Collection* collection) {
  CollectionInfo info = collection->info();
  if (absl::Status status = CheckEtag(info, update.etag); !status.ok()) return status;
  IndexSpec asked = info.spec.index;
  asked.recall_target = update.recall_target.value_or(asked.recall_target);
  asked.nprobe = update.nprobe.value_or(asked.nprobe);
  asked.ef_search = update.ef_search.value_or(asked.ef_search);
  asked.graph = update.graph.value_or(asked.graph);
  if (absl::Status status = CheckIndexSpec(asked, info.spec.dimension); !status.ok()) {
    return status;
  }
  const storage::StoredIndex stored = ToStored(asked);
  const IndexSpec next = FromStored(stored);  // as it is after a restart
  const std::string changes = Describe(info.spec.index, next);
  if (update.validate_only) {
    info.spec.index = next;
    info.etag.clear();
  } else if (!changes.empty()) {
    if (absl::Status status = store->PutIndex(collection->uid(), stored); !status.ok()) {
      return status;
    }
    collection->SetIndex(next);
    migrations->SetIndex(*collection, next);
    info = collection->info();
    std::string message = absl::StrCat("collection `", info.spec.id, "` was changed: ", changes);
    spdlog::info("{}", message);
    events->Publish(Event::Kind::kCollectionUpdated, info.spec.id, std::move(message));
  }
  info.migration = migrations->Info(*collection);
  return info;
}

}  // namespace vecino::engine
