#include "server/rpc/snapshot_handlers.h"

#include <string>
#include <utility>
#include <vector>

#include "server/rpc/conversions.h"
#include "server/rpc/index_conversions.h"
#include "server/rpc/integrity_stream.h"
#include "server/rpc/page_token.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/snapshot_conversions.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr char kListSnapshots[] = "ListSnapshots";
// Of the snapshots in a page, unless one alone has more: each names all its collections.
constexpr size_t kMaxListBytes = size_t{3} << 20;

}  // namespace

absl::Status SnapshotHandlers::CreateSnapshot(const v1::CreateSnapshotRequest& request,
                                              google::longrunning::Operation* response,
                                              const engine::CallContext&) {
  std::vector<std::string> collections;
  for (int i = 0; i < request.collections_size(); ++i) {
    auto id = ParseCollectionName(Concat("collections[", i, "]"), request.collections(i));
    if (!id.ok()) return id.status();
    collections.push_back(*std::move(id));
  }
  const auto info = engine_.snapshots().Create(request.snapshot_id(), collections);
  if (!info.ok()) return info.status();
  WriteOperation(*info, response);
  return absl::OkStatus();
}

absl::Status SnapshotHandlers::ListSnapshots(const v1::ListSnapshotsRequest& request,
                                             v1::ListSnapshotsResponse* response,
                                             const engine::CallContext&) {
  auto page_size = ReadPageSize(request.page_size());
  if (!page_size.ok()) return page_size.status();
  PagePosition position;
  if (!request.page_token().empty()) {
    auto read = ReadPageToken(kListSnapshots, "", request.page_token());
    if (!read.ok()) return read.status();
    position = *std::move(read);
  }
  // One more, to know whether another page follows.
  const auto infos = engine_.snapshots().List(position.after_id, *page_size + 1);
  if (!infos.ok()) return infos.status();
  size_t bytes = 0;
  std::string last;
  for (const engine::SnapshotInfo& info : *infos) {
    v1::Snapshot snapshot;
    WriteSnapshot(info, &snapshot);
    bytes += snapshot.ByteSizeLong();
    if (response->snapshots_size() == *page_size || (bytes > kMaxListBytes && !last.empty())) {
      response->set_next_page_token(
          MakePageToken(kListSnapshots, "", {.shard = 0, .after_id = last}));
      break;
    }
    *response->add_snapshots() = std::move(snapshot);
    last = info.id;
  }
  return absl::OkStatus();
}

absl::Status SnapshotHandlers::RestoreSnapshot(const v1::RestoreSnapshotRequest& request,
                                               google::longrunning::Operation* response,
                                               const engine::CallContext&) {
  engine::RestoreRequest restore;
  auto snapshot = ParseSnapshotName("name", request.name());
  if (!snapshot.ok()) return snapshot.status();
  restore.snapshot = *std::move(snapshot);
  if (!request.source_collection().empty()) {
    auto source = ParseCollectionName("source_collection", request.source_collection());
    if (!source.ok()) return source.status();
    restore.source = *std::move(source);
  }
  if (!request.collection_id().empty()) {
    absl::Status status = CheckCollectionId("collection_id", request.collection_id());
    if (!status.ok()) return status;
    restore.collection = request.collection_id();
  }
  const auto info = engine_.snapshots().Restore(restore);
  if (!info.ok()) return info.status();
  WriteOperation(*info, response);
  return absl::OkStatus();
}

absl::Status SnapshotHandlers::DeleteSnapshot(const v1::DeleteSnapshotRequest& request,
                                              v1::DeleteSnapshotResponse*,
                                              const engine::CallContext&) {
  auto id = ParseSnapshotName("name", request.name());
  if (!id.ok()) return id.status();
  return engine_.snapshots().Delete(*id);
}

absl::StatusOr<std::unique_ptr<MessageStream>> SnapshotHandlers::VerifyIntegrity(
    const v1::VerifyIntegrityRequest& request, const engine::CallContext&) {
  engine::IntegrityRequest what;
  if (IsOfSnapshot(request.name())) {
    auto id = ParseSnapshotName("name", request.name());
    if (!id.ok()) return id.status();
    what.snapshot = *std::move(id);
  } else if (!request.name().empty()) {
    auto id = ParseCollectionName("name", request.name());
    if (!id.ok()) return id.status();
    what.collection = *std::move(id);
  }
  auto check = engine_.snapshots().Verify(what);
  if (!check.ok()) return check.status();
  return std::make_unique<IntegrityStream>(*std::move(check));
}

}  // namespace vecino::rpc
