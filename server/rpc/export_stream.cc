#include "server/rpc/export_stream.h"

#include "server/rpc/conversions.h"
#include "server/rpc/index_conversions.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

// Leaves room for what a message has around its part.
constexpr size_t kPartBytes = kMaxStreamMessageBytes - 1024;
constexpr size_t kBytesAroundId = 3;  // tag and length

}  // namespace

absl::StatusOr<bool> ExportStream::Fill(v1::ExportIndexResponse* response) {
  const engine::ShardExport& content = index_->content;
  if (!begun_) {
    begun_ = true;
    v1::ExportIndexHeader& header = *response->mutable_header();
    header.set_name(Concat("collections/", index_->spec.id));
    header.set_shard(index_->shard);
    header.set_shard_count(index_->spec.shard_count);
    header.set_rows(static_cast<int64_t>(content.ids.size()));
    header.set_index_bytes(content.file.size());
    header.set_description(content.description);
    v1::IndexPolicy policy;
    WriteIndexPolicy(index_->spec.index, &policy);
    header.set_kind(policy.kind());
    header.set_dimension(index_->spec.dimension);
    header.set_metric(WriteMetric(index_->spec.metric));
    return true;
  }
  if (sent_bytes_ < content.file.size()) {
    auto bytes = content.file.Read(sent_bytes_, kPartBytes);
    if (!bytes.ok()) return bytes.status();
    sent_bytes_ += static_cast<int64_t>(bytes->size());
    response->set_index_data(*std::move(bytes));
    return true;
  }
  if (sent_ids_ == content.ids.size()) return false;
  v1::ExportIndexDocumentIds& ids = *response->mutable_document_ids();
  for (size_t bytes = 0; sent_ids_ < content.ids.size(); ++sent_ids_) {
    const std::string& id = content.ids[sent_ids_];
    bytes += id.size() + kBytesAroundId;
    if (bytes > kPartBytes) break;
    ids.add_ids(id);
  }
  return true;
}

}  // namespace vecino::rpc
