// An exported index as the messages of ExportIndex.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "server/engine/index_export.h"
#include "server/rpc/message_stream.h"
#include "vecino/v1/collection_service.pb.h"

namespace vecino::rpc {

class ExportStream final : public TypedStream<v1::ExportIndexResponse> {
 public:
  // place: given back with the stream.
  ExportStream(std::unique_ptr<engine::IndexExport> index, std::shared_ptr<const void> place)
      : place_(std::move(place)), index_(std::move(index)) {}

 private:
  absl::StatusOr<bool> Fill(v1::ExportIndexResponse* response) override;

  const std::shared_ptr<const void> place_;
  const std::unique_ptr<engine::IndexExport> index_;
  bool begun_ = false;
  int64_t sent_bytes_ = 0;  // of the file
  size_t sent_ids_ = 0;
};

}  // namespace vecino::rpc
